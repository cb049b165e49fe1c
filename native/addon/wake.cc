// Eventfds by which threads wake each other's rings. A handle may outlive its ring, and the number of a closed descriptor goes to
// whatever is opened next: the list says which ones are rings' still.
#include "ring.h"

#include <sys/eventfd.h>
#include <unistd.h>

static std::vector<int> live;
static pthread_mutex_t liveLock = PTHREAD_MUTEX_INITIALIZER;

// Where it stands in the list; its size: it does not.
static size_t placeOf(int fd) {
  size_t place = 0;
  while (place < live.size() && live[place] != fd) place++;
  return place;
}

int openWake() {
  Held guard(liveLock);
  const int fd = eventfd(0, EFD_CLOEXEC);
  if (fd >= 0) live.push_back(fd);
  return fd;
}

void closeWake(int fd) {
  Held guard(liveLock);
  const size_t place = placeOf(fd);
  if (place == live.size()) return;
  live[place] = live.back();
  live.pop_back();
  close(fd);
}

// wake(eventFd)
napi_value wake(napi_env env, napi_callback_info info) {
  double arguments[1];
  numbers(env, info, arguments);
  const int fd = static_cast<int>(arguments[0]);
  Held guard(liveLock);
  // A ring that is destroyed has nobody to wake.
  if (placeOf(fd) == live.size()) return nullptr;
  const uint64_t one = 1;
  // A full counter would block; two to the power of 64 wakes do not come.
  while (write(fd, &one, sizeof one) < 0 && errno == EINTR) continue;
  return nullptr;
}
