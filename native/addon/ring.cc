// One io_uring, driven by descriptors that JavaScript writes into shared numbers. One call per turn: enter() checks each
// descriptor against the arena and the slot table, turns it into an SQE, submits, waits, and copies completions out.
#include "addon.h"

#include <algorithm>
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/time_types.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <vector>

// Operation kinds and descriptor words: src/op-table.ts and src/uring/uring-engine.ts have the same numbers.
enum Kind { READ = 1, WRITE, SYNC, ALLOCATE, RECV, SEND, ACCEPT, CONNECT, CANCEL, WAKE };
enum Word { W_KIND, W_SLOT, W_OFFSET, W_LENGTH, W_FILE_LOW, W_FILE_HIGH, W_FLAGS, W_OPERATION, W_GATHER, W_GATHER_COUNT, WORDS = 10 };
enum Control { C_COUNT, C_WAIT_LOW, C_WAIT_HIGH, C_COMPLETED, C_ERROR, C_SPIN_NS, C_SUBMIT_ONLY, CONTROL_WORDS = 16 };

static const uint32_t DESCRIPTORS = 4096, GATHER_PAIRS = 32768, COMPLETIONS = 4096, SQ_ENTRIES = 1024, CQ_ENTRIES = 8192;
static const int64_t WAIT_FOREVER = INT64_MAX;
static const uint64_t WAKE_OPERATION = UINT32_MAX, CANCEL_OPERATION = UINT32_MAX - 1;

struct SlotState {
  int fd = -1;
  bool fixed = false;
  // A send's list has to stay in place until it completes; there is one send at a time per slot.
  std::vector<iovec> pieces;
  msghdr message{};
};

struct Ring {
  int fd = -1, enterFd = -1, eventFd = -1;
  unsigned enterFlags = 0;
  bool fixedFiles = false;
  uint8_t* rings = nullptr;
  size_t ringsBytes = 0;
  io_uring_sqe* sqes = nullptr;
  uint32_t sqEntries = 0, *sqHead = nullptr, *sqTail = nullptr, *sqFlags = nullptr, *cqHead = nullptr, *cqTail = nullptr;
  uint32_t sqMask = 0, cqMask = 0, tail = 0, submitted = 0;
  io_uring_cqe* cqes = nullptr;
  Arena* arena = nullptr;
  std::vector<SlotState> slots;
  std::vector<sockaddr_storage> addresses;
  uint64_t wakeCount = 0;
  int32_t descriptors[DESCRIPTORS * WORDS];
  uint32_t gather[GATHER_PAIRS * 2];
  int32_t completions[COMPLETIONS * 2];
  int32_t control[CONTROL_WORDS];
  double clock[2];
};

static double monotonicNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1e9 + now.tv_nsec;
}

static int ringEnter(Ring* ring, unsigned submit, unsigned wait, int64_t waitNs) {
  unsigned flags = IORING_ENTER_GETEVENTS | ring->enterFlags;
  if (wait == 0 || waitNs == WAIT_FOREVER)
    return static_cast<int>(syscall(__NR_io_uring_enter, ring->enterFd, submit, wait, flags, nullptr, 0));
  __kernel_timespec timeout{waitNs / 1000000000, waitNs % 1000000000};
  io_uring_getevents_arg argument{};
  argument.ts = reinterpret_cast<uint64_t>(&timeout);
  return static_cast<int>(
      syscall(__NR_io_uring_enter, ring->enterFd, submit, wait, flags | IORING_ENTER_EXT_ARG, &argument, sizeof argument));
}

// Publishes the SQEs written so far and gives them to the kernel. Returns false on an error that is not passing.
static bool submitAll(Ring* ring, unsigned wait, int64_t waitNs) {
  __atomic_store_n(ring->sqTail, ring->tail, __ATOMIC_RELEASE);
  for (;;) {
    const unsigned pending = ring->tail - ring->submitted;
    const int result = ringEnter(ring, pending, wait, waitNs);
    if (result >= 0) ring->submitted += result;
    else if (errno == ETIME) ring->submitted = __atomic_load_n(ring->sqHead, __ATOMIC_ACQUIRE);
    else if (errno != EINTR && errno != EAGAIN && errno != EBUSY) {
      ring->control[C_ERROR] = errno;
      return false;
    } else if (errno == EINTR) ring->submitted = __atomic_load_n(ring->sqHead, __ATOMIC_ACQUIRE);
    // EAGAIN and EBUSY: completions have to be taken first; what is left is submitted by the next turn.
    return true;
  }
}

static io_uring_sqe* nextSqe(Ring* ring) {
  while (ring->tail - __atomic_load_n(ring->sqHead, __ATOMIC_ACQUIRE) >= ring->sqEntries) {
    if (!submitAll(ring, 0, 0)) return nullptr;
    if (ring->tail - __atomic_load_n(ring->sqHead, __ATOMIC_ACQUIRE) >= ring->sqEntries) return nullptr;
  }
  io_uring_sqe* sqe = &ring->sqes[ring->tail++ & ring->sqMask];
  memset(sqe, 0, sizeof *sqe);
  return sqe;
}

// The check that keeps JavaScript from naming foreign memory: 64-bit sums cannot wrap.
static bool inArena(Ring* ring, uint32_t offset, uint32_t length) {
  return length > 0 && static_cast<uint64_t>(offset) + length <= ring->arena->bytes;
}

static bool fillSend(Ring* ring, const int32_t* word, SlotState& slot, io_uring_sqe* sqe) {
  const uint32_t first = word[W_GATHER], count = word[W_GATHER_COUNT];
  if (count == 0 || count > 1024 || static_cast<uint64_t>(first) + count > GATHER_PAIRS) return false;
  slot.pieces.resize(count);
  for (uint32_t i = 0; i < count; i++) {
    const uint32_t offset = ring->gather[(first + i) * 2], length = ring->gather[(first + i) * 2 + 1];
    if (!inArena(ring, offset, length)) return false;
    slot.pieces[i] = {ring->arena->base + offset, length};
  }
  sqe->msg_flags = MSG_WAITALL | MSG_NOSIGNAL;
  if (count == 1) {
    sqe->opcode = IORING_OP_SEND;
    sqe->addr = reinterpret_cast<uint64_t>(slot.pieces[0].iov_base);
    sqe->len = slot.pieces[0].iov_len;
    return true;
  }
  slot.message = {};
  slot.message.msg_iov = slot.pieces.data();
  slot.message.msg_iovlen = count;
  sqe->opcode = IORING_OP_SENDMSG;
  sqe->addr = reinterpret_cast<uint64_t>(&slot.message);
  sqe->len = 1;
  return true;
}

static bool fillTransfer(Ring* ring, const int32_t* word, io_uring_sqe* sqe) {
  const uint32_t offset = word[W_OFFSET], length = word[W_LENGTH];
  if (!inArena(ring, offset, length)) return false;
  sqe->addr = reinterpret_cast<uint64_t>(ring->arena->base + offset);
  sqe->len = length;
  return true;
}

// One descriptor to one SQE. False: the descriptor names what it must not.
static bool fill(Ring* ring, const int32_t* word, io_uring_sqe* sqe) {
  sqe->user_data = static_cast<uint32_t>(word[W_OPERATION]);
  if (word[W_KIND] == WAKE) {
    sqe->opcode = IORING_OP_READ;
    sqe->fd = ring->eventFd;
    sqe->addr = reinterpret_cast<uint64_t>(&ring->wakeCount);  // ours, and alive as long as the ring
    sqe->len = sizeof ring->wakeCount;
    sqe->user_data = WAKE_OPERATION;
    return true;
  }
  const uint32_t index = word[W_SLOT];
  if (index >= ring->slots.size() || ring->slots[index].fd < 0) return false;
  SlotState& slot = ring->slots[index];
  sqe->fd = slot.fixed ? static_cast<int>(index) : slot.fd;
  if (slot.fixed) sqe->flags = IOSQE_FIXED_FILE;
  const uint64_t fileOffset = static_cast<uint32_t>(word[W_FILE_LOW]) | static_cast<uint64_t>(static_cast<uint32_t>(word[W_FILE_HIGH])) << 32;
  switch (word[W_KIND]) {
    case READ:
      sqe->opcode = IORING_OP_READ;
      sqe->off = fileOffset;
      return fillTransfer(ring, word, sqe);
    case WRITE:
      sqe->opcode = IORING_OP_WRITE;
      sqe->off = fileOffset;
      if (word[W_FLAGS] & 1) sqe->rw_flags = RWF_DSYNC;
      return fillTransfer(ring, word, sqe);
    case SYNC:
      sqe->opcode = IORING_OP_FSYNC;
      sqe->fsync_flags = IORING_FSYNC_DATASYNC;
      return true;
    case ALLOCATE:
      sqe->opcode = IORING_OP_FALLOCATE;
      sqe->off = fileOffset;
      // The length is a file's, not memory's: it takes the two words that a transfer uses for its buffer.
      sqe->addr = static_cast<uint32_t>(word[W_OFFSET]) | static_cast<uint64_t>(static_cast<uint32_t>(word[W_LENGTH])) << 32;
      sqe->len = word[W_FLAGS];
      return true;
    case RECV:
      sqe->opcode = IORING_OP_RECV;
      sqe->msg_flags = word[W_FLAGS] & 1 ? MSG_WAITALL : 0;
      return fillTransfer(ring, word, sqe);
    case SEND:
      return fillSend(ring, word, slot, sqe);
    case ACCEPT:
      sqe->opcode = IORING_OP_ACCEPT;
      sqe->accept_flags = SOCK_CLOEXEC;
      return true;
    case CONNECT:
      sqe->opcode = IORING_OP_CONNECT;
      sqe->addr = reinterpret_cast<uint64_t>(&ring->addresses[index]);
      sqe->off = ring->addresses[index].ss_family == AF_UNIX   ? sizeof(sockaddr_un)
                 : ring->addresses[index].ss_family == AF_INET ? sizeof(sockaddr_in)
                                                               : sizeof(sockaddr_in6);
      return true;
    case CANCEL:
      sqe->opcode = IORING_OP_ASYNC_CANCEL;
      sqe->flags = 0;
      sqe->cancel_flags = IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_ALL | (slot.fixed ? IORING_ASYNC_CANCEL_FD_FIXED : 0);
      sqe->user_data = CANCEL_OPERATION;
      return true;
  }
  return false;
}

static void takeCompletions(Ring* ring) {
  uint32_t head = *ring->cqHead;
  const uint32_t tail = __atomic_load_n(ring->cqTail, __ATOMIC_ACQUIRE);
  uint32_t count = 0;
  for (; head != tail && count < COMPLETIONS; head++) {
    const io_uring_cqe& cqe = ring->cqes[head & ring->cqMask];
    if (cqe.user_data == CANCEL_OPERATION) continue;
    ring->completions[count * 2] = cqe.user_data == WAKE_OPERATION ? -1 : static_cast<int32_t>(cqe.user_data);
    ring->completions[count * 2 + 1] = cqe.res;
    count++;
  }
  __atomic_store_n(ring->cqHead, head, __ATOMIC_RELEASE);
  ring->control[C_COMPLETED] = count;
  ring->clock[0] = monotonicNs();
}

static bool spin(Ring* ring, int32_t spinNs) {
  const double end = monotonicNs() + spinNs;
  do {
    for (int i = 0; i < 32; i++) {
      if (__atomic_load_n(ring->cqTail, __ATOMIC_ACQUIRE) != *ring->cqHead) return true;
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    }
    if (__atomic_load_n(ring->sqFlags, __ATOMIC_RELAXED) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) ringEnter(ring, 0, 0, 0);
  } while (monotonicNs() < end);
  return __atomic_load_n(ring->cqTail, __ATOMIC_ACQUIRE) != *ring->cqHead;
}

static napi_value enter(napi_env env, napi_callback_info info) {
  void* data;
  napi_get_cb_info(env, info, nullptr, nullptr, nullptr, &data);
  Ring* ring = static_cast<Ring*>(data);
  if (ring->fd < 0) return fail(env, "ERR_SLOT", "the ring is destroyed");
  int32_t* control = ring->control;
  control[C_ERROR] = 0;
  const uint32_t count = std::min(static_cast<uint32_t>(control[C_COUNT]), DESCRIPTORS);
  for (uint32_t i = 0; i < count; i++) {
    io_uring_sqe* sqe = nextSqe(ring);
    if (sqe == nullptr) return fail(env, "EBUSY", "the kernel takes no more operations");
    if (!fill(ring, &ring->descriptors[i * WORDS], sqe)) {
      // The SQE must not reach the kernel half filled; what was enqueued before it does.
      ring->tail--;
      return fail(env, "ERR_ARENA_BOUNDS", "a descriptor names memory outside the arena or a slot that is not open");
    }
  }
  const int64_t waitNs = static_cast<uint32_t>(control[C_WAIT_LOW]) | static_cast<int64_t>(control[C_WAIT_HIGH]) << 32;
  const bool ready = __atomic_load_n(ring->cqTail, __ATOMIC_ACQUIRE) != *ring->cqHead;
  bool ok;
  if (waitNs != 0 && !ready && control[C_SPIN_NS] > 0) {
    ok = submitAll(ring, 0, 0);
    if (ok && !spin(ring, control[C_SPIN_NS])) ok = submitAll(ring, 1, waitNs);
  } else {
    ok = submitAll(ring, waitNs != 0 && !ready ? 1 : 0, waitNs);
  }
  if (!ok) return failErrno(env, "io_uring_enter");
  if (!control[C_SUBMIT_ONLY]) takeCompletions(ring);
  return nullptr;
}

// setSlot(slot, fd): the table that descriptors are checked against, and the kernel's table of fixed files
static napi_value setSlot(napi_env env, napi_callback_info info) {
  double arguments[2];
  Ring* ring = static_cast<Ring*>(numbers(env, info, arguments));
  const size_t index = static_cast<size_t>(arguments[0]);
  if (index >= ring->slots.size()) return fail(env, "ERR_SLOT", "no such slot");
  SlotState& slot = ring->slots[index];
  slot.fd = static_cast<int>(arguments[1]);
  slot.fixed = false;
  if (ring->fixedFiles) {
    io_uring_files_update update{};
    update.offset = index;
    update.fds = reinterpret_cast<uint64_t>(&slot.fd);
    slot.fixed = syscall(__NR_io_uring_register, ring->fd, IORING_REGISTER_FILES_UPDATE, &update, 1) == 1;
  }
  const int sendBytes = 1 << 20, on = 1;
  int type, family;
  socklen_t length = sizeof type;
  if (getsockopt(slot.fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0) {
    if (setsockopt(slot.fd, SOL_SOCKET, SO_SNDBUFFORCE, &sendBytes, sizeof sendBytes) < 0)
      setsockopt(slot.fd, SOL_SOCKET, SO_SNDBUF, &sendBytes, sizeof sendBytes);
    length = sizeof family;
    if (getsockopt(slot.fd, SOL_SOCKET, SO_DOMAIN, &family, &length) == 0 && family != AF_UNIX)
      setsockopt(slot.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  return nullptr;
}

static napi_value clearSlot(napi_env env, napi_callback_info info) {
  double arguments[1];
  Ring* ring = static_cast<Ring*>(numbers(env, info, arguments));
  const size_t index = static_cast<size_t>(arguments[0]);
  if (index >= ring->slots.size()) return fail(env, "ERR_SLOT", "no such slot");
  SlotState& slot = ring->slots[index];
  if (slot.fixed) {
    int none = -1;
    io_uring_files_update update{};
    update.offset = index;
    update.fds = reinterpret_cast<uint64_t>(&none);
    syscall(__NR_io_uring_register, ring->fd, IORING_REGISTER_FILES_UPDATE, &update, 1);
  }
  slot.fd = -1;
  slot.fixed = false;
  slot.pieces.clear();
  slot.pieces.shrink_to_fit();
  return nullptr;
}

// prepareConnect(slot, path, host, port) → fd, or -errno: the socket, and the address where the kernel will read it
static napi_value prepareConnect(napi_env env, napi_callback_info info) {
  size_t count = 4;
  napi_value values[4];
  void* data;
  napi_get_cb_info(env, info, &count, values, nullptr, &data);
  Ring* ring = static_cast<Ring*>(data);
  uint32_t index = 0;
  int32_t port = 0;
  char path[256] = "", host[256] = "";
  size_t pathLength = 0, hostLength = 0;
  napi_get_value_uint32(env, values[0], &index);
  napi_get_value_string_utf8(env, values[1], path, sizeof path, &pathLength);
  napi_get_value_string_utf8(env, values[2], host, sizeof host, &hostLength);
  napi_get_value_int32(env, values[3], &port);
  if (index >= ring->addresses.size()) return fail(env, "ERR_SLOT", "no such slot");
  sockaddr_storage& storage = ring->addresses[index];
  storage = {};
  if (pathLength > 0) {
    auto* address = reinterpret_cast<sockaddr_un*>(&storage);
    if (pathLength >= sizeof address->sun_path) return number(env, -ENAMETOOLONG);
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, path, pathLength + 1);
  } else {
    auto* four = reinterpret_cast<sockaddr_in*>(&storage);
    auto* six = reinterpret_cast<sockaddr_in6*>(&storage);
    if (inet_pton(AF_INET, host, &four->sin_addr) == 1) {
      four->sin_family = AF_INET;
      four->sin_port = htons(port);
    } else if (inet_pton(AF_INET6, host, &six->sin6_addr) == 1) {
      six->sin6_family = AF_INET6;
      six->sin6_port = htons(port);
    } else {
      return number(env, -EINVAL);
    }
  }
  const int fd = socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  return number(env, fd < 0 ? -errno : fd);
}

static void closeRing(Ring* ring) {
  if (ring->fd < 0) return;
  munmap(ring->sqes, ring->sqEntries * sizeof(io_uring_sqe));
  munmap(ring->rings, ring->ringsBytes);
  close(ring->fd);
  close(ring->eventFd);
  ring->fd = -1;
}

static napi_value destroy(napi_env env, napi_callback_info info) {
  void* data;
  napi_get_cb_info(env, info, nullptr, nullptr, nullptr, &data);
  closeRing(static_cast<Ring*>(data));
  return nullptr;
}

static int setUp(io_uring_params* params) {
  // The best first; an older kernel refuses flags that it does not know.
  const unsigned tries[] = {
      IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
      IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
      0,
  };
  int fd = -1;
  for (const unsigned flags : tries) {
    *params = {};
    params->flags = flags | IORING_SETUP_CQSIZE;
    params->cq_entries = CQ_ENTRIES;
    fd = static_cast<int>(syscall(__NR_io_uring_setup, SQ_ENTRIES, params));
    if (fd >= 0 || errno != EINVAL) return fd;
  }
  return fd;
}

static bool mapRings(Ring* ring, const io_uring_params& params) {
  ring->ringsBytes = std::max<size_t>(params.sq_off.array + params.sq_entries * sizeof(uint32_t),
                                      params.cq_off.cqes + params.cq_entries * sizeof(io_uring_cqe));
  void* rings = mmap(nullptr, ring->ringsBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd, IORING_OFF_SQ_RING);
  void* sqes = mmap(nullptr, params.sq_entries * sizeof(io_uring_sqe), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd,
                    IORING_OFF_SQES);
  if (rings == MAP_FAILED || sqes == MAP_FAILED) return false;
  ring->rings = static_cast<uint8_t*>(rings);
  ring->sqes = static_cast<io_uring_sqe*>(sqes);
  ring->sqEntries = params.sq_entries;
  ring->sqMask = params.sq_entries - 1;
  ring->cqMask = params.cq_entries - 1;
  auto at = [&](uint32_t offset) { return reinterpret_cast<uint32_t*>(ring->rings + offset); };
  ring->sqHead = at(params.sq_off.head);
  ring->sqTail = at(params.sq_off.tail);
  ring->sqFlags = at(params.sq_off.flags);
  ring->cqHead = at(params.cq_off.head);
  ring->cqTail = at(params.cq_off.tail);
  ring->cqes = reinterpret_cast<io_uring_cqe*>(ring->rings + params.cq_off.cqes);
  uint32_t* array = at(params.sq_off.array);
  for (uint32_t i = 0; i < params.sq_entries; i++) array[i] = i;
  return true;
}

static void registerOptional(Ring* ring, uint32_t slots) {
  ring->enterFd = ring->fd;
  io_uring_rsrc_update update{};
  update.offset = -1U;
  update.data = ring->fd;
  if (syscall(__NR_io_uring_register, ring->fd, IORING_REGISTER_RING_FDS, &update, 1) == 1) {
    ring->enterFd = update.offset;
    ring->enterFlags = IORING_ENTER_REGISTERED_RING;
  }
  rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < slots) return;  // slots beyond the limit are used unregistered
  io_uring_rsrc_register table{};
  table.nr = slots;
  table.flags = IORING_RSRC_REGISTER_SPARSE;
  ring->fixedFiles = syscall(__NR_io_uring_register, ring->fd, IORING_REGISTER_FILES2, &table, sizeof table) == 0;
}

// ringCreate(arenaId, slots) → object; throws with the errno's name where io_uring is not to be had
napi_value ringCreate(napi_env env, napi_callback_info info) {
  double arguments[2];
  numbers(env, info, arguments);
  Arena* arena = arenaById(static_cast<int>(arguments[0]));
  if (arena == nullptr) return fail(env, "ERR_ARGUMENT", "there is no arena of that number");
  io_uring_params params;
  const int fd = setUp(&params);
  if (fd < 0) return failErrno(env, "io_uring_setup");
  const unsigned needed = IORING_FEAT_EXT_ARG | IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP;
  if ((params.features & needed) != needed) {
    close(fd);
    return fail(env, "ENOSYS", "this kernel's io_uring is too old (5.11 or newer is needed)");
  }
  Ring* ring = new Ring();
  ring->fd = fd;
  ring->arena = arena;
  const uint32_t slots = static_cast<uint32_t>(arguments[1]);
  ring->slots.resize(slots);
  ring->addresses.resize(slots);
  ring->eventFd = eventfd(0, EFD_CLOEXEC);
  if (!mapRings(ring, params)) return failErrno(env, "mmap of the ring");
  registerOptional(ring, slots);
  ring->clock[0] = monotonicNs();

  napi_value object;
  napi_create_object(env, &object);
  if (!externalBuffer(env, object, "descriptors", ring->descriptors, sizeof ring->descriptors) ||
      !externalBuffer(env, object, "gather", ring->gather, sizeof ring->gather) ||
      !externalBuffer(env, object, "completions", ring->completions, sizeof ring->completions) ||
      !externalBuffer(env, object, "control", ring->control, sizeof ring->control) ||
      !externalBuffer(env, object, "clock", ring->clock, sizeof ring->clock)) {
    closeRing(ring);
    return fail(env, "ERR_UNSUPPORTED", "this Node.js does not allow external memory");
  }
  napi_set_named_property(env, object, "eventFd", number(env, ring->eventFd));
  method(env, object, "enter", enter, ring);
  method(env, object, "setSlot", setSlot, ring);
  method(env, object, "clearSlot", clearSlot, ring);
  method(env, object, "prepareConnect", prepareConnect, ring);
  method(env, object, "destroy", destroy, ring);
  // The memory above stays until the thread's JavaScript is gone; then nothing can name it, and only then is it freed.
  napi_add_env_cleanup_hook(
      env,
      [](void* data) {
        Ring* ring = static_cast<Ring*>(data);
        closeRing(ring);
        delete ring;
      },
      ring);
  return object;
}
