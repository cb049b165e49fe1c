// The slots of a ring: the table that descriptors are checked against, and the kernel's table of fixed files.
#include "ring.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static const int SEND_BUFFER_BYTES = 1 << 20;
// A connect to a machine that does not answer is given up after 3 s: whoever connects tries again by itself, and soon.
static const int CONNECT_RETRIES = 1;

// The slot's place in the kernel's table; -1 empties it.
static bool setFixed(Ring* ring, size_t index, int fd) {
  io_uring_files_update update{};
  update.offset = index;
  update.fds = reinterpret_cast<uint64_t>(&fd);
  return syscall(__NR_io_uring_register, ring->fd, IORING_REGISTER_FILES_UPDATE, &update, 1) == 1;
}

static void setUpSocket(int fd) {
  const int on = 1;
  int type, family;
  socklen_t length = sizeof type;
  if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) < 0) return;
  if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &SEND_BUFFER_BYTES, sizeof SEND_BUFFER_BYTES) < 0)
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &SEND_BUFFER_BYTES, sizeof SEND_BUFFER_BYTES);
  length = sizeof family;
  if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &length) == 0 && family != AF_UNIX) {
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_SYNCNT, &CONNECT_RETRIES, sizeof CONNECT_RETRIES);
  }
}

static void forget(Ring* ring, int fd) {
  std::vector<int>& accepted = ring->accepted;
  for (size_t i = 0; i < accepted.size(); i++)
    if (accepted[i] == fd) accepted[i] = -1;
}

// forgetAccepted(fd): an accepted connection gets no slot, and is about to be closed
napi_value forgetAccepted(napi_env env, napi_callback_info info) {
  double arguments[1];
  Ring* ring = static_cast<Ring*>(numbers(env, info, arguments));
  forget(ring, static_cast<int>(arguments[0]));
  return nullptr;
}

// setSlot(slot, fd)
napi_value setSlot(napi_env env, napi_callback_info info) {
  double arguments[2];
  Ring* ring = static_cast<Ring*>(numbers(env, info, arguments));
  const size_t index = static_cast<size_t>(arguments[0]);
  if (index >= ring->slots.size()) return fail(env, "ERR_SLOT", "no such slot");
  SlotState& slot = ring->slots[index];
  slot.fd = static_cast<int>(arguments[1]);
  forget(ring, slot.fd);
  slot.fixed = ring->fixedFiles && slot.fd >= 0 && setFixed(ring, index, slot.fd);
  setUpSocket(slot.fd);
  return nullptr;
}

// clearSlot(slot): the descriptor is somebody else's from here on
napi_value clearSlot(napi_env env, napi_callback_info info) {
  double arguments[1];
  Ring* ring = static_cast<Ring*>(numbers(env, info, arguments));
  const size_t index = static_cast<size_t>(arguments[0]);
  if (index >= ring->slots.size()) return fail(env, "ERR_SLOT", "no such slot");
  SlotState& slot = ring->slots[index];
  if (slot.fixed) setFixed(ring, index, -1);
  slot.fd = -1;
  slot.fixed = false;
  // An SQE that still waits to be submitted may name the message: it must not lead to memory that is gone.
  slot.message.msg_iovlen = 0;
  slot.pieces.clear();
  slot.pieces.shrink_to_fit();
  return nullptr;
}

// prepareConnect(slot, path, host, port) → fd, or -errno: the socket, and the address where the kernel will read it
napi_value prepareConnect(napi_env env, napi_callback_info info) {
  size_t count = 4;
  napi_value values[4];
  void* data;
  napi_get_cb_info(env, info, &count, values, nullptr, &data);
  Ring* ring = static_cast<Ring*>(data);
  uint32_t index = UINT32_MAX;
  napi_get_value_uint32(env, values[0], &index);
  if (index >= ring->addresses.size()) return fail(env, "ERR_SLOT", "no such slot");
  const int result = socketAddress(env, &values[1], &ring->addresses[index]);
  if (result < 0) return number(env, result);
  const int fd = socket(ring->addresses[index].ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  return number(env, fd < 0 ? -errno : fd);
}
