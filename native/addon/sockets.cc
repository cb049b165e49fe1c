// What Node has no synchronous call for: listeners by number, shutdown, wakes, fallocate, flock.
#include "addon.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static std::string text(napi_env env, napi_value value) {
  char buffer[512];
  size_t length = 0;
  if (napi_get_value_string_utf8(env, value, buffer, sizeof buffer, &length) != napi_ok) return "";
  return std::string(buffer, length);
}

// listen(path, host, port, backlog) → fd or -errno. A path means Unix. Host is a numeric address.
static napi_value listenOn(napi_env env, napi_callback_info info) {
  size_t count = 4;
  napi_value values[4];
  napi_get_cb_info(env, info, &count, values, nullptr, nullptr);
  const std::string path = text(env, values[0]), host = text(env, values[1]);
  int32_t port = 0, backlog = 0;
  napi_get_value_int32(env, values[2], &port);
  napi_get_value_int32(env, values[3], &backlog);
  sockaddr_storage storage{};
  socklen_t length;
  if (!path.empty()) {
    auto* address = reinterpret_cast<sockaddr_un*>(&storage);
    if (path.size() >= sizeof address->sun_path) return number(env, -ENAMETOOLONG);
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, path.c_str(), path.size() + 1);
    length = sizeof(sockaddr_un);
  } else {
    auto* four = reinterpret_cast<sockaddr_in*>(&storage);
    auto* six = reinterpret_cast<sockaddr_in6*>(&storage);
    if (inet_pton(AF_INET, host.c_str(), &four->sin_addr) == 1) {
      four->sin_family = AF_INET;
      four->sin_port = htons(port);
      length = sizeof *four;
    } else if (inet_pton(AF_INET6, host.c_str(), &six->sin6_addr) == 1) {
      six->sin6_family = AF_INET6;
      six->sin6_port = htons(port);
      length = sizeof *six;
    } else {
      return number(env, -EINVAL);
    }
  }
  const int fd = socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return number(env, -errno);
  const int on = 1;
  if (storage.ss_family != AF_UNIX) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(fd, reinterpret_cast<sockaddr*>(&storage), length) < 0 || listen(fd, backlog) < 0) {
    const int error = errno;
    close(fd);
    return number(env, -error);
  }
  return number(env, fd);
}

static napi_value localPort(napi_env env, napi_callback_info info) {
  double arguments[1];
  numbers(env, info, arguments);
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  if (getsockname(static_cast<int>(arguments[0]), reinterpret_cast<sockaddr*>(&storage), &length) < 0) return number(env, -errno);
  if (storage.ss_family == AF_INET) return number(env, ntohs(reinterpret_cast<sockaddr_in*>(&storage)->sin_port));
  if (storage.ss_family == AF_INET6) return number(env, ntohs(reinterpret_cast<sockaddr_in6*>(&storage)->sin6_port));
  return number(env, 0);
}

static napi_value shutdownSocket(napi_env env, napi_callback_info info) {
  double arguments[1];
  numbers(env, info, arguments);
  shutdown(static_cast<int>(arguments[0]), SHUT_RDWR);
  return nullptr;
}

static napi_value wakeEventFd(napi_env env, napi_callback_info info) {
  double arguments[1];
  numbers(env, info, arguments);
  const uint64_t one = 1;
  // A full counter (EAGAIN) means that a wake is on its way already; a closed ring has nobody to wake.
  if (write(static_cast<int>(arguments[0]), &one, sizeof one) < 0) return nullptr;
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

void registerSockets(napi_env env, napi_value exports) {
  method(env, exports, "listen", listenOn, nullptr);
  method(env, exports, "localPort", localPort, nullptr);
  method(env, exports, "shutdown", shutdownSocket, nullptr);
  method(env, exports, "wake", wakeEventFd, nullptr);
  method(env, exports, "fallocate", fallocateFile, nullptr);
  method(env, exports, "flock", flockFile, nullptr);
  method(env, exports, "duplicate", duplicate, nullptr);
}
