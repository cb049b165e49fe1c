// The turn of a ring, driven by descriptors that JavaScript writes into shared numbers. One call per turn: enter() checks each
// descriptor against the arena and the slot table, turns it into an SQE, submits, waits, and copies completions out.
#include "ring.h"

#include <linux/time_types.h>
#include <netinet/in.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

// A thread that sleeps here hears of nothing else, and process.exit, terminate and a fatal error join it: so it looks up this often. No lazy send
// is told later than that (LAZY_MS in src/engine.ts).
static const __kernel_timespec TICK_TIME{0, 100'000'000};

double monotonicNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1e9 + now.tv_nsec;
}

int ringEnter(Ring* ring, unsigned submit, unsigned wait, int64_t waitNs) {
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
  const int result = ringEnter(ring, ring->tail - ring->submitted, wait, waitNs);
  if (result >= 0) {
    ring->submitted += result;
    return true;
  }
  ring->submitted = __atomic_load_n(ring->sqHead, __ATOMIC_ACQUIRE);
  // EAGAIN and EBUSY: completions have to be taken first; what is left is submitted by the next turn.
  return errno == ETIME || errno == EINTR || errno == EAGAIN || errno == EBUSY;
}

static io_uring_sqe* nextSqe(Ring* ring) {
  if (ring->tail - __atomic_load_n(ring->sqHead, __ATOMIC_ACQUIRE) >= ring->sqEntries) {
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

// The list of a send, in its slot. False: it names what it must not.
static bool fillMessage(Ring* ring, const int32_t* word, SlotState& slot) {
  const uint32_t first = word[W_GATHER], count = word[W_GATHER_COUNT];
  if (count == 0 || count > MAX_GATHER || static_cast<uint64_t>(first) + count > GATHER_PAIRS) return false;
  const uint32_t* pairs = &ring->gather[first * 2];
  // All before any: a list that an SQE names already must stay whole when this one is refused.
  for (uint32_t i = 0; i < count; i++)
    if (!inArena(ring, pairs[i * 2], pairs[i * 2 + 1])) return false;
  slot.pieces.resize(count);
  slot.sendBytes = slot.sentBytes = 0;
  for (uint32_t i = 0; i < count; i++) {
    slot.pieces[i] = {ring->arena->base + pairs[i * 2], pairs[i * 2 + 1]};
    slot.sendBytes += pairs[i * 2 + 1];
  }
  slot.message = {};
  slot.message.msg_iov = slot.pieces.data();
  slot.message.msg_iovlen = count;
  return true;
}

static bool fillSend(Ring* ring, const int32_t* word, SlotState& slot, io_uring_sqe* sqe) {
  if (!fillMessage(ring, word, slot)) return false;
  const bool single = slot.pieces.size() == 1;
  sqe->opcode = single ? IORING_OP_SEND : IORING_OP_SENDMSG;
  sqe->addr = single ? reinterpret_cast<uint64_t>(slot.pieces[0].iov_base) : reinterpret_cast<uint64_t>(&slot.message);
  sqe->len = single ? slot.pieces[0].iov_len : 1;
  if (!(word[W_FLAGS] & SEND_LAZY)) {
    sqe->msg_flags = MSG_WAITALL | MSG_NOSIGNAL;
    return true;
  }
  // Never waits, so it has completed when the call that submits it begins to wait: that call can wait for one completion more.
  sqe->msg_flags = MSG_DONTWAIT | MSG_NOSIGNAL;
  sqe->user_data = userData(LAZY_SEND, word[W_OPERATION], word[W_SLOT]);
  ring->lazySends++;
  return true;
}

static bool fillTransfer(Ring* ring, const int32_t* word, io_uring_sqe* sqe) {
  const uint32_t offset = word[W_OFFSET], length = word[W_LENGTH];
  if (!inArena(ring, offset, length)) return false;
  sqe->addr = reinterpret_cast<uint64_t>(ring->arena->base + offset);
  sqe->len = length;
  return true;
}

static void fillWake(Ring* ring, io_uring_sqe* sqe) {
  sqe->opcode = IORING_OP_READ;
  sqe->fd = ring->eventFd;
  sqe->addr = reinterpret_cast<uint64_t>(&ring->wakeCount);  // ours, and alive as long as the ring
  sqe->len = sizeof ring->wakeCount;
  sqe->user_data = userData(WAKE, 0);
}

static void fillConnect(Ring* ring, uint32_t index, io_uring_sqe* sqe) {
  const sockaddr_storage& address = ring->addresses[index];
  sqe->opcode = IORING_OP_CONNECT;
  sqe->addr = reinterpret_cast<uint64_t>(&address);
  sqe->off = address.ss_family == AF_UNIX ? sizeof(sockaddr_un) : address.ss_family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
}

// One descriptor to one SQE. False: the descriptor names what it must not.
static bool fill(Ring* ring, const int32_t* word, io_uring_sqe* sqe) {
  if (word[W_KIND] == WAKE) {
    fillWake(ring, sqe);
    return true;
  }
  const uint32_t index = word[W_SLOT];
  if (index >= ring->slots.size() || ring->slots[index].fd < 0) return false;
  SlotState& slot = ring->slots[index];
  if (word[W_KIND] == CANCEL) {
    sqe->opcode = IORING_OP_ASYNC_CANCEL;
    sqe->fd = slot.fixed ? static_cast<int>(index) : slot.fd;
    sqe->cancel_flags = IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_ALL | (slot.fixed ? IORING_ASYNC_CANCEL_FD_FIXED : 0);
    sqe->user_data = userData(CANCEL, 0);
    return true;
  }
  if (word[W_OPERATION] < 0) return false;
  sqe->user_data = userData(word[W_KIND], word[W_OPERATION], index);
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
      sqe->msg_flags = word[W_FLAGS] & RECV_ALL ? MSG_WAITALL : 0;
      return fillTransfer(ring, word, sqe);
    case SEND:
      return fillSend(ring, word, slot, sqe);
    case ACCEPT:
      sqe->opcode = IORING_OP_ACCEPT;
      sqe->accept_flags = SOCK_CLOEXEC;
      return true;
    case CONNECT:
      fillConnect(ring, index, sqe);
      return true;
  }
  return false;
}

static void armTick(Ring* ring) {
  io_uring_sqe* sqe = nextSqe(ring);
  if (sqe == nullptr) return;  // the next turn tries again
  sqe->opcode = IORING_OP_TIMEOUT;
  sqe->addr = reinterpret_cast<uint64_t>(&TICK_TIME);
  sqe->len = 1;
  sqe->user_data = userData(TICK, 0);
  ring->tickArmed = true;
}

// A lazy send that found no room for all: what is left goes as any other send. False: the kernel takes no more operations just now.
static bool sendRest(Ring* ring, uint64_t user, int32_t result) {
  SlotState& slot = ring->slots[slotOf(user)];
  io_uring_sqe* sqe = nextSqe(ring);
  if (sqe == nullptr) return false;
  slot.sentBytes = result > 0 ? result : 0;
  msghdr& message = slot.message;
  for (size_t skip = slot.sentBytes; skip > 0;) {
    iovec& piece = *message.msg_iov;
    const size_t taken = std::min(skip, piece.iov_len);
    piece.iov_base = static_cast<uint8_t*>(piece.iov_base) + taken;
    piece.iov_len -= taken;
    skip -= taken;
    if (piece.iov_len > 0) break;
    message.msg_iov++;
    message.msg_iovlen--;
  }
  sqe->opcode = IORING_OP_SENDMSG;
  sqe->addr = reinterpret_cast<uint64_t>(&message);
  sqe->len = 1;
  sqe->fd = slot.fixed ? static_cast<int>(slotOf(user)) : slot.fd;
  if (slot.fixed) sqe->flags = IOSQE_FIXED_FILE;
  sqe->msg_flags = MSG_WAITALL | MSG_NOSIGNAL;
  sqe->user_data = userData(SEND, static_cast<uint32_t>(user), slotOf(user));
  return true;
}

static bool isShort(const Ring* ring, const io_uring_cqe& cqe) {
  return cqe.res == -EAGAIN || (cqe.res >= 0 && static_cast<size_t>(cqe.res) < ring->slots[slotOf(cqe.user_data)].sendBytes);
}

static void takeCompletions(Ring* ring) {
  uint32_t head = *ring->cqHead;
  const uint32_t tail = __atomic_load_n(ring->cqTail, __ATOMIC_ACQUIRE);
  uint32_t count = 0;
  // Those of the turn before have been told.
  ring->accepted.clear();
  for (; head != tail && count < COMPLETIONS; head++) {
    const io_uring_cqe cqe = ring->cqes[head & ring->cqMask];
    const uint32_t kind = kindOf(cqe.user_data);
    if (kind == CANCEL) continue;
    if (kind == TICK) {
      ring->tickArmed = false;
      continue;
    }
    if (kind == LAZY_SEND && isShort(ring, cqe)) {
      if (!sendRest(ring, cqe.user_data, cqe.res)) break;
      continue;
    }
    if (kind == ACCEPT && cqe.res >= 0) ring->accepted.push_back(cqe.res);
    ring->completions[count * 2] = kind == WAKE ? -1 : static_cast<int32_t>(cqe.user_data);
    const bool isSend = kind == SEND && cqe.res >= 0;
    ring->completions[count * 2 + 1] = cqe.res + (isSend ? static_cast<int32_t>(ring->slots[slotOf(cqe.user_data)].sentBytes) : 0);
    count++;
  }
  __atomic_store_n(ring->cqHead, head, __ATOMIC_RELEASE);
  ring->control[C_COMPLETED] = count;
  ring->clock[0] = monotonicNs();
}

// Completions that nobody has taken yet.
static uint32_t waiting(const Ring* ring) { return __atomic_load_n(ring->cqTail, __ATOMIC_ACQUIRE) - *ring->cqHead; }

static bool spin(Ring* ring, int32_t spinNs, uint32_t wanted) {
  const double end = monotonicNs() + spinNs;
  do {
    for (int i = 0; i < 32; i++) {
      if (waiting(ring) >= wanted) return true;
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    }
    if (__atomic_load_n(ring->sqFlags, __ATOMIC_RELAXED) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) ringEnter(ring, 0, 0, 0);
  } while (monotonicNs() < end);
  return waiting(ring) >= wanted;
}

// enter(): carries out the turn that the control words describe. Throws ERR_ARENA_BOUNDS for a descriptor that names what it must not;
// what stands before it is carried out, what stands behind it is not.
napi_value enter(napi_env env, napi_callback_info info) {
  void* data;
  napi_get_cb_info(env, info, nullptr, nullptr, nullptr, &data);
  Ring* ring = static_cast<Ring*>(data);
  if (ring->fd < 0) return fail(env, "ERR_SLOT", "the ring is destroyed");
  int32_t* control = ring->control;
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
  if (waitNs != 0 && !ring->tickArmed) armTick(ring);
  const bool mayWait = waitNs != 0 && waiting(ring) == 0;
  const uint32_t wanted = 1 + ring->lazySends;
  ring->lazySends = 0;
  bool ok;
  if (mayWait && control[C_SPIN_NS] > 0) {
    ok = submitAll(ring, 0, 0);
    if (ok && !spin(ring, control[C_SPIN_NS], wanted)) ok = submitAll(ring, wanted, waitNs);
  } else {
    ok = submitAll(ring, mayWait ? wanted : 0, waitNs);
  }
  if (!ok) return failErrno(env, "io_uring_enter");
  if (!control[C_SUBMIT_ONLY]) takeCompletions(ring);
  return nullptr;
}
