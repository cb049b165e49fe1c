// One io_uring and what belongs to it. ring.cc has the turn, slots.cc the open files and sockets, ring-life.cc the beginning and the end.
#pragma once
#include "addon.h"

#include <linux/io_uring.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <vector>

// Operation kinds and descriptor words: src/op-table.ts and src/uring/uring-engine.ts have the same numbers. The last two are the ring's own.
enum Kind { READ = 1, WRITE, SYNC, ALLOCATE, RECV, SEND, ACCEPT, CONNECT, CANCEL, WAKE, LAZY_SEND = 254, TICK = 255 };
enum Word { W_KIND, W_SLOT, W_OFFSET, W_LENGTH, W_FILE_LOW, W_FILE_HIGH, W_FLAGS, W_OPERATION, W_GATHER, W_GATHER_COUNT, WORDS = 10 };
// Flags of a RECV and of a SEND.
enum Flag { RECV_ALL = 1, SEND_LAZY = 1 };
enum Control { C_COUNT, C_WAIT_LOW, C_WAIT_HIGH, C_COMPLETED, C_SPIN_NS, C_SUBMIT_ONLY, CONTROL_WORDS = 16 };

static const uint32_t DESCRIPTORS = 4096, GATHER_PAIRS = 32768, MAX_GATHER = 1024, COMPLETIONS = 4096, SQ_ENTRIES = 1024, CQ_ENTRIES = 8192;
static const int64_t WAIT_FOREVER = INT64_MAX;

// What a completion belongs to: the slot above the kind above the operation's number.
inline uint64_t userData(uint32_t kind, uint32_t operation, uint32_t slot = 0) {
  return static_cast<uint64_t>(slot) << 40 | static_cast<uint64_t>(kind) << 32 | operation;
}
inline uint32_t kindOf(uint64_t userData) { return userData >> 32 & 0xff; }
inline uint32_t slotOf(uint64_t userData) { return static_cast<uint32_t>(userData >> 40); }

struct SlotState {
  int fd = -1;
  bool fixed = false;
  // A send's list has to stay in place until the kernel has taken it; there is one send at a time per slot.
  std::vector<iovec> pieces;
  msghdr message{};
  // Of a lazy send: all its bytes, and those that went before it had to wait like any other.
  size_t sendBytes = 0, sentBytes = 0;
};

struct Ring {
  int fd = -1, enterFd = -1, eventFd = -1;
  unsigned enterFlags = 0;
  bool fixedFiles = false, tickArmed = false;
  uint8_t* rings = nullptr;
  size_t ringsBytes = 0;
  io_uring_sqe* sqes = nullptr;
  uint32_t sqEntries = 0, *sqHead = nullptr, *sqTail = nullptr, *sqFlags = nullptr, *cqHead = nullptr, *cqTail = nullptr;
  // `tail`: SQEs written; `submitted`: those that the kernel has taken.
  uint32_t sqMask = 0, cqMask = 0, tail = 0, submitted = 0;
  // Lazy sends among the SQEs of this turn.
  uint32_t lazySends = 0;
  io_uring_cqe* cqes = nullptr;
  Arena* arena = nullptr;
  std::vector<SlotState> slots;
  std::vector<sockaddr_storage> addresses;
  // Accepted connections whose completions JavaScript was given by the last turn, and which are in no slot yet: if its thread ends now, they are nobody's.
  std::vector<int> accepted;
  uint64_t wakeCount = 0;
  int32_t descriptors[DESCRIPTORS * WORDS];
  uint32_t gather[GATHER_PAIRS * 2];
  int32_t completions[COMPLETIONS * 2];
  int32_t control[CONTROL_WORDS];
  double clock[2];
};

double monotonicNs();

// io_uring_enter: gives `submit` SQEs to the kernel and waits for `wait` completions at most `waitNs`. A count, or -1 with errno.
int ringEnter(Ring* ring, unsigned submit, unsigned wait, int64_t waitNs);

napi_value enter(napi_env env, napi_callback_info info);
napi_value setSlot(napi_env env, napi_callback_info info);
napi_value forgetAccepted(napi_env env, napi_callback_info info);
napi_value clearSlot(napi_env env, napi_callback_info info);
napi_value prepareConnect(napi_env env, napi_callback_info info);

// Eventfds by which other threads wake a ring: made, raised and closed under one lock, so that a wake that comes late never
// writes to a descriptor whose number has gone to somebody else.
int openWake();
void closeWake(int fd);
