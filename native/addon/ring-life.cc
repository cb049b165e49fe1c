// The beginning and the end of a ring.
#include "planted.h"
#include "ring.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

// How long the end of a ring waits for operations that cannot be cancelled (a disk that does not answer).
static const double END_NS = 5e9;
static const int64_t END_STEP_NS = 50'000'000;

static long registerWith(Ring* ring, unsigned what, void* argument, unsigned count) {
  return syscall(__NR_io_uring_register, ring->fd, what, argument, count);
}

static int setUp(io_uring_params* params) {
  // The best first; an older kernel refuses flags that it does not know.
  const unsigned tries[] = {
      IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
      IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
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

// Throws why there is no ring, with what an administrator can do about it.
static napi_value refuse(napi_env env) {
  const int error = errno;
  char text[200];
  const char* hint = error == EPERM    ? " (forbidden by a seccomp filter, or by kernel.io_uring_disabled)"
                     : error == ENOSYS ? " (not in this kernel, or hidden by a seccomp filter)"
                     : error == ENOMEM ? " (RLIMIT_MEMLOCK may be too low: 1 MiB for each thread is enough)"
                                       : "";
  snprintf(text, sizeof text, "io_uring_setup: %s%s", strerror(error), hint);
  return fail(env, errnoName(error), text);
}

// Cancelling by fixed file, sends that do not end early and cancelling all at the end came with Linux 6.0, as did this operation.
static bool isNewEnough(Ring* ring) {
  const unsigned count = IORING_OP_SEND_ZC + 1;
  alignas(io_uring_probe) uint8_t memory[sizeof(io_uring_probe) + count * sizeof(io_uring_probe_op)] = {};
  const auto* probe = reinterpret_cast<io_uring_probe*>(memory);
  if (registerWith(ring, IORING_REGISTER_PROBE, memory, count) < 0) return false;
  return probe->last_op >= IORING_OP_SEND_ZC && (probe->ops[IORING_OP_SEND_ZC].flags & IO_URING_OP_SUPPORTED);
}

static bool mapRings(Ring* ring, const io_uring_params& params) {
  ring->ringsBytes = std::max<size_t>(params.sq_off.array + params.sq_entries * sizeof(uint32_t),
                                      params.cq_off.cqes + params.cq_entries * sizeof(io_uring_cqe));
  void* rings = mmap(nullptr, ring->ringsBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd, IORING_OFF_SQ_RING);
  if (rings == MAP_FAILED) return false;
  ring->rings = static_cast<uint8_t*>(rings);
  ring->sqEntries = params.sq_entries;
  void* sqes = mmap(nullptr, params.sq_entries * sizeof(io_uring_sqe), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd,
                    IORING_OFF_SQES);
  if (sqes == MAP_FAILED) return false;
  ring->sqes = static_cast<io_uring_sqe*>(sqes);
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
  io_uring_rsrc_update update{};
  update.offset = -1U;
  update.data = ring->fd;
  if (registerWith(ring, IORING_REGISTER_RING_FDS, &update, 1) == 1) {
    ring->enterFd = update.offset;
    ring->enterFlags = IORING_ENTER_REGISTERED_RING;
  }
  rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < slots) return;  // slots beyond the limit are used unregistered
  io_uring_rsrc_register table{};
  table.nr = slots;
  table.flags = IORING_RSRC_REGISTER_SPARSE;
  ring->fixedFiles = registerWith(ring, IORING_REGISTER_FILES2, &table, sizeof table) == 0;
}

// Cancels everything and waits for it, so that nothing writes to the arena any more and no file is held. Results are told to nobody;
// a connection that was accepted just now is closed.
static void endOperations(Ring* ring) {
  ring->tail = ring->submitted = __atomic_load_n(ring->sqHead, __ATOMIC_ACQUIRE);
  __atomic_store_n(ring->sqTail, ring->tail, __ATOMIC_RELEASE);
  io_uring_sync_cancel_reg all{};
  all.flags = IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL;
  all.timeout = {1, 0};
  registerWith(ring, IORING_REGISTER_SYNC_CANCEL, &all, 1);
  const double end = monotonicNs() + END_NS;
  for (;;) {
    uint32_t head = *ring->cqHead;
    for (const uint32_t tail = __atomic_load_n(ring->cqTail, __ATOMIC_ACQUIRE); head != tail; head++) {
      const io_uring_cqe& cqe = ring->cqes[head & ring->cqMask];
      if (kindOf(cqe.user_data) == ACCEPT && cqe.res >= 0) close(cqe.res);
    }
    __atomic_store_n(ring->cqHead, head, __ATOMIC_RELEASE);
    // Each SQE has one completion: the two counters meet when nothing is outstanding.
    if (head == ring->submitted || monotonicNs() > end) return;
    ringEnter(ring, 0, 1, END_STEP_NS);
  }
}

static void closeRing(Ring* ring) {
  if (ring->fd < 0) return;
  if (ring->sqes != nullptr) {
    endOperations(ring);
    munmap(ring->sqes, ring->sqEntries * sizeof(io_uring_sqe));
  }
  if (ring->rings != nullptr) munmap(ring->rings, ring->ringsBytes);
  if (ring->fixedFiles) registerWith(ring, IORING_UNREGISTER_FILES, nullptr, 0);
  if (ring->enterFlags != 0) {
    // A registered ring is held by its thread: closing the descriptor alone would leave it, with all that it holds.
    io_uring_rsrc_update update{};
    update.offset = ring->enterFd;
    registerWith(ring, IORING_UNREGISTER_RING_FDS, &update, 1);
  }
  close(ring->fd);
  closeWake(ring->eventFd);
  ring->fd = -1;
}

// destroy(): ends all operations and gives the ring back. The descriptors in the slots are the caller's to close, afterwards.
static napi_value destroy(napi_env env, napi_callback_info info) {
  void* data;
  napi_get_cb_info(env, info, nullptr, nullptr, nullptr, &data);
  Ring* ring = static_cast<Ring*>(data);
  closeRing(ring);
  for (SlotState& slot : ring->slots) slot = SlotState();
  return nullptr;
}

// The thread's JavaScript is gone, with or without a word: nothing can name the memory any more, and nobody else closes the slots.
static void onThreadEnd(void* data) {
  Ring* ring = static_cast<Ring*>(data);
  closeRing(ring);
  for (const SlotState& slot : ring->slots)
    if (slot.fd >= 0) close(slot.fd);
  for (const int fd : ring->accepted)
    if (fd >= 0) close(fd);
  delete ring;
#if PLANTED_FAULT == 2
  ring->fd = -1;
#endif
}

static napi_value giveUp(napi_env env, Ring* ring, const char* code, const char* message) {
  closeRing(ring);
  delete ring;
  return fail(env, code, message);
}

static bool share(napi_env env, napi_value object, Ring* ring) {
  return externalBuffer(env, object, "descriptors", ring->descriptors, sizeof ring->descriptors) &&
         externalBuffer(env, object, "gather", ring->gather, sizeof ring->gather) &&
         externalBuffer(env, object, "completions", ring->completions, sizeof ring->completions) &&
         externalBuffer(env, object, "control", ring->control, sizeof ring->control) &&
         externalBuffer(env, object, "clock", ring->clock, sizeof ring->clock);
}

// ringCreate(arenaId, slots) → object; throws with the errno's name where io_uring is not to be had
napi_value ringCreate(napi_env env, napi_callback_info info) {
  double arguments[2];
  numbers(env, info, arguments);
  Arena* arena = arenaById(static_cast<int>(arguments[0]));
  if (arena == nullptr) return fail(env, "ERR_ARGUMENT", "there is no arena of that number");
  io_uring_params params;
  const int fd = setUp(&params);
  if (fd < 0) return refuse(env);
  Ring* ring = new Ring();
  ring->fd = ring->enterFd = fd;
  ring->arena = arena;
  const unsigned needed = IORING_FEAT_EXT_ARG | IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP;
  if ((params.features & needed) != needed || !isNewEnough(ring))
    return giveUp(env, ring, "ENOSYS", "this kernel's io_uring is too old (Linux 6.0 or newer is needed)");
  if (!mapRings(ring, params)) return giveUp(env, ring, errnoName(errno), "the ring's memory cannot be mapped");
  ring->eventFd = openWake();
  if (ring->eventFd < 0) return giveUp(env, ring, errnoName(errno), "there is no eventfd to be had");
  const uint32_t slots = static_cast<uint32_t>(arguments[1]);
  ring->slots.resize(slots);
  ring->addresses.resize(slots);
#if PLANTED_FAULT == 1
  ring->slots.data()[slots].fd = -1;
#endif
  registerOptional(ring, slots);
  ring->clock[0] = monotonicNs();

  napi_value object;
  napi_create_object(env, &object);
  if (!share(env, object, ring)) {
    closeRing(ring);  // but not freed: a part of it may be shared already
    return fail(env, "ERR_UNSUPPORTED", "this Node.js does not allow external memory");
  }
  napi_set_named_property(env, object, "eventFd", number(env, ring->eventFd));
  method(env, object, "enter", enter, ring);
  method(env, object, "setSlot", setSlot, ring);
  method(env, object, "forgetAccepted", forgetAccepted, ring);
  method(env, object, "clearSlot", clearSlot, ring);
  method(env, object, "prepareConnect", prepareConnect, ring);
  method(env, object, "destroy", destroy, ring);
  napi_add_env_cleanup_hook(env, onThreadEnd, ring);
  return object;
}
