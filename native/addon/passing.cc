// Bytes and descriptors over a Unix socket (SCM_RIGHTS). Both calls wait in a thread of libuv's pool, for as long as they are told.
#include "addon.h"

#include <cerrno>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

// As many as Linux passes with one message (SCM_MAX_FD).
static const size_t MAX_PASSED = 253;
static const size_t MAX_RECEIVED_BYTES = 64 << 10;

struct Passing {
  napi_async_work work = nullptr;
  napi_deferred deferred = nullptr;
  int socket = -1, timeoutMs = 0;
  bool isSend = false;
  std::vector<uint8_t> bytes;
  std::vector<int> descriptors;
  // Of bytes, or -errno.
  ssize_t result = 0;
};

// 0: it can be used now; else -errno.
static int waitFor(const Passing* passing, short events) {
  pollfd one{passing->socket, events, 0};
  const int ready = poll(&one, 1, passing->timeoutMs);
  return ready > 0 ? 0 : ready == 0 ? -ETIMEDOUT : -errno;
}

static ssize_t sendSome(Passing* passing, size_t from) {
  iovec piece{passing->bytes.data() + from, passing->bytes.size() - from};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  std::vector<uint8_t> control;
  // They go with the first byte, all at once.
  if (from == 0 && !passing->descriptors.empty()) {
    const size_t length = passing->descriptors.size() * sizeof(int);
    control.resize(CMSG_SPACE(length));
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(length);
    memcpy(CMSG_DATA(header), passing->descriptors.data(), length);
  }
  return sendmsg(passing->socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static ssize_t sendAll(Passing* passing) {
  for (size_t sent = 0; sent < passing->bytes.size();) {
    const ssize_t some = sendSome(passing, sent);
    if (some >= 0) {
      sent += some;
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return -errno;
    const int ready = waitFor(passing, POLLOUT);
    if (ready < 0 && ready != -EINTR) return ready;
  }
  return static_cast<ssize_t>(passing->bytes.size());
}

static void takeDescriptors(Passing* passing, msghdr* message) {
  for (cmsghdr* header = CMSG_FIRSTHDR(message); header != nullptr; header = CMSG_NXTHDR(message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    const size_t before = passing->descriptors.size();
    passing->descriptors.resize(before + count);
    memcpy(passing->descriptors.data() + before, CMSG_DATA(header), count * sizeof(int));
  }
}

static ssize_t receiveSome(Passing* passing) {
  passing->bytes.resize(MAX_RECEIVED_BYTES);
  iovec piece{passing->bytes.data(), passing->bytes.size()};
  std::vector<uint8_t> control(CMSG_SPACE(MAX_PASSED * sizeof(int)));
  for (;;) {
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t got = recvmsg(passing->socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got >= 0) {
      takeDescriptors(passing, &message);
      if (!(message.msg_flags & MSG_CTRUNC)) return got;
      // Some are lost: this process may open no more.
      for (const int fd : passing->descriptors) close(fd);
      passing->descriptors.clear();
      return -EMFILE;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return -errno;
    const int ready = waitFor(passing, POLLIN);
    if (ready < 0 && ready != -EINTR) return ready;
  }
}

static void execute(napi_env, void* data) {
  Passing* passing = static_cast<Passing*>(data);
  passing->result = passing->isSend ? sendAll(passing) : receiveSome(passing);
}

// { bytes, descriptors }
static napi_value received(napi_env env, const Passing* passing) {
  napi_value object, bytes, list;
  void* copy;
  napi_create_object(env, &object);
  napi_create_buffer_copy(env, passing->result, passing->bytes.data(), &copy, &bytes);
  napi_create_array_with_length(env, passing->descriptors.size(), &list);
  for (size_t i = 0; i < passing->descriptors.size(); i++) napi_set_element(env, list, i, number(env, passing->descriptors[i]));
  napi_set_named_property(env, object, "bytes", bytes);
  napi_set_named_property(env, object, "descriptors", list);
  return object;
}

static void complete(napi_env env, napi_status status, void* data) {
  Passing* passing = static_cast<Passing*>(data);
  if (status == napi_cancelled) passing->result = -ECANCELED;
  const bool isData = !passing->isSend && passing->result >= 0;
  napi_resolve_deferred(env, passing->deferred, isData ? received(env, passing) : number(env, passing->result));
  napi_delete_async_work(env, passing->work);
  delete passing;
}

static napi_value begin(napi_env env, Passing* passing) {
  napi_value promise, name;
  napi_create_promise(env, &passing->deferred, &promise);
  napi_create_string_utf8(env, "passing", NAPI_AUTO_LENGTH, &name);
  napi_create_async_work(env, nullptr, name, execute, complete, passing, &passing->work);
  napi_queue_async_work(env, passing->work);
  return promise;
}

// sendDescriptors(socket, timeoutMs, bytes, descriptors: Int32Array) → Promise of the count of bytes, or of -errno
static napi_value sendDescriptors(napi_env env, napi_callback_info info) {
  size_t count = 4;
  napi_value values[4];
  napi_get_cb_info(env, info, &count, values, nullptr, nullptr);
  void *bytes, *descriptors;
  size_t bytesLength, descriptorsLength;
  napi_typedarray_type type;
  if (count < 4 || napi_get_typedarray_info(env, values[2], &type, &bytesLength, &bytes, nullptr, nullptr) != napi_ok || type != napi_uint8_array ||
      napi_get_typedarray_info(env, values[3], &type, &descriptorsLength, &descriptors, nullptr, nullptr) != napi_ok || type != napi_int32_array ||
      bytesLength == 0 || descriptorsLength > MAX_PASSED)
    return fail(env, "ERR_ARGUMENT", "at least one byte, and at most 253 descriptors, can be sent");
  auto* passing = new Passing;
  napi_get_value_int32(env, values[0], &passing->socket);
  napi_get_value_int32(env, values[1], &passing->timeoutMs);
  passing->isSend = true;
  passing->bytes.assign(static_cast<uint8_t*>(bytes), static_cast<uint8_t*>(bytes) + bytesLength);
  passing->descriptors.assign(static_cast<int*>(descriptors), static_cast<int*>(descriptors) + descriptorsLength);
  return begin(env, passing);
}

// receiveDescriptors(socket, timeoutMs) → Promise of { bytes, descriptors } (no bytes: the peer has closed), or of -errno
static napi_value receiveDescriptors(napi_env env, napi_callback_info info) {
  double arguments[2];
  numbers(env, info, arguments);
  auto* passing = new Passing;
  passing->socket = static_cast<int>(arguments[0]);
  passing->timeoutMs = static_cast<int>(arguments[1]);
  return begin(env, passing);
}

void registerPassing(napi_env env, napi_value exports) {
  method(env, exports, "sendDescriptors", sendDescriptors, nullptr);
  method(env, exports, "receiveDescriptors", receiveDescriptors, nullptr);
}
