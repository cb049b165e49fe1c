// What Node has no synchronous call for: listeners by number, who listens, datagrams, shutdown, fallocate, lseek, flock.
#include "addon.h"

#include <arpa/inet.h>
#include <cstddef>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

struct Text {
  char bytes[512] = "";
  size_t length = 0;

  Text(napi_env env, napi_value value) {
    if (napi_get_value_string_utf8(env, value, bytes, sizeof bytes, &length) != napi_ok) bytes[length = 0] = 0;
  }
};

int socketAddress(napi_env env, const napi_value* values, sockaddr_storage* address) {
  const Text path(env, values[0]), host(env, values[1]);
  int32_t port = 0;
  napi_get_value_int32(env, values[2], &port);
  *address = {};
  if (path.length > 0) {
    auto* local = reinterpret_cast<sockaddr_un*>(address);
    if (path.length >= sizeof local->sun_path) return -ENAMETOOLONG;
    local->sun_family = AF_UNIX;
    memcpy(local->sun_path, path.bytes, path.length + 1);
    return sizeof *local;
  }
  auto* four = reinterpret_cast<sockaddr_in*>(address);
  auto* six = reinterpret_cast<sockaddr_in6*>(address);
  if (inet_pton(AF_INET, host.bytes, &four->sin_addr) == 1) {
    four->sin_family = AF_INET;
    four->sin_port = htons(port);
    return sizeof *four;
  }
  if (inet_pton(AF_INET6, host.bytes, &six->sin6_addr) == 1) {
    six->sin6_family = AF_INET6;
    six->sin6_port = htons(port);
    return sizeof *six;
  }
  return -EINVAL;
}

// listen(path, host, port, backlog, mode) → fd or -errno. `mode`: permission bits of a Unix socket's file.
static napi_value listenOn(napi_env env, napi_callback_info info) {
  size_t count = 5;
  napi_value values[5];
  napi_get_cb_info(env, info, &count, values, nullptr, nullptr);
  int32_t backlog = 0, mode = 0;
  napi_get_value_int32(env, values[3], &backlog);
  napi_get_value_int32(env, values[4], &mode);
  sockaddr_storage storage;
  const int length = socketAddress(env, values, &storage);
  if (length < 0) return number(env, length);
  const int fd = socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return number(env, -errno);
  const int on = 1;
  if (storage.ss_family != AF_UNIX) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  // The file that bind makes has the socket's own mode, so that there is no moment in which others could connect.
  else fchmod(fd, mode);
  if (bind(fd, reinterpret_cast<sockaddr*>(&storage), length) < 0 || listen(fd, backlog) < 0) {
    const int error = errno;
    close(fd);
    return number(env, -error);
  }
  return number(env, fd);
}

static void set(napi_env env, napi_value object, const char* name, const char* value) {
  napi_value string;
  napi_create_string_utf8(env, value, NAPI_AUTO_LENGTH, &string);
  napi_set_named_property(env, object, name, string);
}

// localAddress(fd) → { path } or { host, port }; -errno where it has none
static napi_value localAddress(napi_env env, napi_callback_info info) {
  double arguments[1];
  numbers(env, info, arguments);
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  if (getsockname(static_cast<int>(arguments[0]), reinterpret_cast<sockaddr*>(&storage), &length) < 0) return number(env, -errno);
  napi_value object;
  napi_create_object(env, &object);
  char host[INET6_ADDRSTRLEN] = "";
  if (storage.ss_family == AF_UNIX) {
    set(env, object, "path", reinterpret_cast<sockaddr_un*>(&storage)->sun_path);
    return object;
  }
  const bool isFour = storage.ss_family == AF_INET;
  auto* four = reinterpret_cast<sockaddr_in*>(&storage);
  auto* six = reinterpret_cast<sockaddr_in6*>(&storage);
  inet_ntop(storage.ss_family, isFour ? static_cast<void*>(&four->sin_addr) : &six->sin6_addr, host, sizeof host);
  set(env, object, "host", host);
  napi_set_named_property(env, object, "port", number(env, ntohs(isFour ? four->sin_port : six->sin6_port)));
  return object;
}

// connectUnix(path) → a descriptor that is connected there, or -errno
static napi_value connectUnix(napi_env env, napi_callback_info info) {
  size_t count = 3;
  napi_value values[3];
  napi_get_cb_info(env, info, &count, values, nullptr, nullptr);
  sockaddr_storage storage;
  const int length = socketAddress(env, values, &storage);
  if (length < 0) return number(env, length);
  const int fd = socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return number(env, -errno);
  if (connect(fd, reinterpret_cast<sockaddr*>(&storage), length) == 0) return number(env, fd);
  const int error = errno;
  close(fd);
  return number(env, -error);
}

// sendDatagram(path, text: Uint8Array, timeoutMs) → 0 or -errno. A path that begins with @ is a name in the abstract namespace.
static napi_value sendDatagram(napi_env env, napi_callback_info info) {
  size_t count = 3;
  napi_value values[3];
  napi_get_cb_info(env, info, &count, values, nullptr, nullptr);
  const Text path(env, values[0]);
  int32_t timeoutMs = 0;
  napi_get_value_int32(env, values[2], &timeoutMs);
  void* bytes;
  size_t length;
  napi_typedarray_type type;
  if (napi_get_typedarray_info(env, values[1], &type, &length, &bytes, nullptr, nullptr) != napi_ok || type != napi_uint8_array)
    return fail(env, "ERR_ARGUMENT", "bytes can be sent");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.length == 0 || path.length >= sizeof address.sun_path) return number(env, -ENAMETOOLONG);
  memcpy(address.sun_path, path.bytes, path.length);
  // An abstract name ends where the address does; a file's has a zero behind it.
  const bool isAbstract = address.sun_path[0] == '@';
  if (isAbstract) address.sun_path[0] = 0;
  const socklen_t size = offsetof(sockaddr_un, sun_path) + path.length + (isAbstract ? 0 : 1);
  const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return number(env, -errno);
  const timeval limit{timeoutMs / 1000, timeoutMs % 1000 * 1000};
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  ssize_t sent;
  do {
    sent = sendto(fd, bytes, length, MSG_NOSIGNAL, reinterpret_cast<sockaddr*>(&address), size);
  } while (sent < 0 && errno == EINTR);
  const int error = sent < 0 ? errno : 0;
  close(fd);
  return number(env, -error);
}

static napi_value shutdownSocket(napi_env env, napi_callback_info info) {
  double arguments[1];
  numbers(env, info, arguments);
  shutdown(static_cast<int>(arguments[0]), SHUT_RDWR);
  return nullptr;
}

static napi_value fallocateFile(napi_env env, napi_callback_info info) {
  double arguments[4];
  numbers(env, info, arguments);
  int result;
  do {
    result = fallocate(static_cast<int>(arguments[0]), static_cast<int>(arguments[1]), static_cast<off_t>(arguments[2]),
                       static_cast<off_t>(arguments[3]));
  } while (result < 0 && errno == EINTR);
  return number(env, result < 0 ? -errno : 0);
}

// SEEK_DATA, or SEEK_HOLE with 1. The descriptor's own position, which this moves, nobody uses: all reads and writes name theirs.
static napi_value seekFile(napi_env env, napi_callback_info info) {
  double arguments[3];
  numbers(env, info, arguments);
  off_t at = lseek(static_cast<int>(arguments[0]), static_cast<off_t>(arguments[1]), arguments[2] == 1 ? SEEK_HOLE : SEEK_DATA);
  return number(env, at < 0 ? -errno : static_cast<double>(at));
}

static napi_value flockFile(napi_env env, napi_callback_info info) {
  double arguments[1];
  numbers(env, info, arguments);
  return number(env, flock(static_cast<int>(arguments[0]), LOCK_EX | LOCK_NB) < 0 ? -errno : 0);
}

static napi_value duplicate(napi_env env, napi_callback_info info) {
  double arguments[1];
  numbers(env, info, arguments);
  const int fd = fcntl(static_cast<int>(arguments[0]), F_DUPFD_CLOEXEC, 0);
  return number(env, fd < 0 ? -errno : fd);
}

// socketPair() → one end times 2^20 plus the other, or -errno. Blocking sockets: rings wait for them, libuv makes its own end non-blocking.
static napi_value makeSocketPair(napi_env env, napi_callback_info) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) return number(env, -errno);
  return number(env, ends[0] * 1048576.0 + ends[1]);
}

void registerSockets(napi_env env, napi_value exports) {
  method(env, exports, "listen", listenOn, nullptr);
  method(env, exports, "localAddress", localAddress, nullptr);
  method(env, exports, "connectUnix", connectUnix, nullptr);
  method(env, exports, "sendDatagram", sendDatagram, nullptr);
  method(env, exports, "shutdown", shutdownSocket, nullptr);
  method(env, exports, "fallocate", fallocateFile, nullptr);
  method(env, exports, "seek", seekFile, nullptr);
  method(env, exports, "flock", flockFile, nullptr);
  method(env, exports, "duplicate", duplicate, nullptr);
  method(env, exports, "socketPair", makeSocketPair, nullptr);
}
