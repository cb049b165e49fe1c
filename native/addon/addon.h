// Shared by the addon's files: N-API helpers and the three parts' entry points.
#pragma once
#define NAPI_VERSION 8
#include <node_api.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <pthread.h>

// A throw that JavaScript sees; the caller returns nullptr.
inline napi_value fail(napi_env env, const char* code, const char* message) {
  napi_throw_error(env, code, message);
  return nullptr;
}

// What an error of the kernel is called. By hand: strerrorname_np is glibc 2.32's, and musl has none.
inline const char* errnoName(int error) {
  switch (error) {
#define NAME(name) \
  case name:       \
    return #name;
    NAME(EPERM)
    NAME(ENOENT)
    NAME(EINTR)
    NAME(EAGAIN)
    NAME(ENOMEM)
    NAME(EACCES)
    NAME(EFAULT)
    NAME(EBUSY)
    NAME(EINVAL)
    NAME(ENFILE)
    NAME(EMFILE)
    NAME(ENOSYS)
    NAME(EOPNOTSUPP)
#undef NAME
    default:
      return "EUNKNOWN";
  }
}

inline napi_value failErrno(napi_env env, const char* what) {
  char text[200];
  snprintf(text, sizeof text, "%s: %s", what, strerror(errno));
  return fail(env, errnoName(errno), text);
}

inline napi_value number(napi_env env, double value) {
  napi_value result;
  napi_create_double(env, value, &result);
  return result;
}

// Reads up to N numeric arguments; missing or non-numeric ones are 0.
template <size_t N>
inline void* numbers(napi_env env, napi_callback_info info, double (&out)[N]) {
  size_t count = N;
  napi_value values[N];
  void* data = nullptr;
  napi_get_cb_info(env, info, &count, values, nullptr, &data);
  for (size_t i = 0; i < N; i++) {
    out[i] = 0;
    if (i < count) napi_get_value_double(env, values[i], &out[i]);
  }
  return data;
}

inline void method(napi_env env, napi_value object, const char* name, napi_callback callback, void* data) {
  napi_value function;
  napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, data, &function);
  napi_set_named_property(env, object, name, function);
}

// Memory that the addon owns, seen by JavaScript as an ArrayBuffer. The addon frees it, so there is no finalizer.
inline bool externalBuffer(napi_env env, napi_value object, const char* name, void* memory, size_t bytes) {
  napi_value buffer;
  if (napi_create_external_arraybuffer(env, memory, bytes, nullptr, nullptr, &buffer) != napi_ok) return false;
  return napi_set_named_property(env, object, name, buffer) == napi_ok;
}

// Held to the end of a block. Not std::mutex: of the C++ library the addon uses what needs headers of no C library, so that it builds against musl too.
class Held {
 public:
  explicit Held(pthread_mutex_t& lock) : lock(lock) { pthread_mutex_lock(&lock); }
  ~Held() { pthread_mutex_unlock(&lock); }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;

 private:
  pthread_mutex_t& lock;
};

struct sockaddr_storage;
// Reads three values, path, host and port, into an address; a path means Unix, a host is numeric. Its length, or -errno.
int socketAddress(napi_env env, const napi_value* values, sockaddr_storage* address);

struct Arena {
  uint8_t* base;
  size_t bytes;
};

// The arena of that id, or nullptr.
Arena* arenaById(int id);

napi_value arenaCreate(napi_env env, napi_callback_info info);
napi_value arenaAttach(napi_env env, napi_callback_info info);
napi_value wake(napi_env env, napi_callback_info info);
napi_value ringCreate(napi_env env, napi_callback_info info);
void registerSockets(napi_env env, napi_value exports);
void registerPassing(napi_env env, napi_value exports);
