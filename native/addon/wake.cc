// Eventfds by which threads wake each other's rings. A handle may outlive its ring, and the number of a closed descriptor goes to
// whatever is opened next: the list says which ones are rings' still.
#include "ring.h"

#include <algorithm>
#include <mutex>
#include <sys/eventfd.h>
#include <unistd.h>

static std::vector<int> live;
static std::mutex liveLock;

int openWake() {
  std::lock_guard<std::mutex> guard(liveLock);
  const int fd = eventfd(0, EFD_CLOEXEC);
  if (fd >= 0) live.push_back(fd);
  return fd;
}

void closeWake(int fd) {
  std::lock_guard<std::mutex> guard(liveLock);
  const auto found = std::find(live.begin(), live.end(), fd);
  if (found == live.end()) return;
  live.erase(found);
  close(fd);
}

// wake(eventFd)
napi_value wake(napi_env env, napi_callback_info info) {
  double arguments[1];
  numbers(env, info, arguments);
  const int fd = static_cast<int>(arguments[0]);
  std::lock_guard<std::mutex> guard(liveLock);
  // A ring that is destroyed has nobody to wake.
  if (std::find(live.begin(), live.end(), fd) == live.end()) return nullptr;
  const uint64_t one = 1;
  // A full counter would block; two to the power of 64 wakes do not come.
  while (write(fd, &one, sizeof one) < 0 && errno == EINTR) continue;
  return nullptr;
}
