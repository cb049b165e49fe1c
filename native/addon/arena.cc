// Arenas: anonymous mappings that all threads of the process share, by number. They live as long as the process: a worker that
// ends must not take memory away that others, or the kernel, still use.
#include "addon.h"

#include <sys/mman.h>

static const int MAX_ARENAS = 256;
static const size_t HUGE_PAGE = 2u << 20, PAGE = 4096;
static Arena arenas[MAX_ARENAS];
static int arenaCount = 0;
static pthread_mutex_t arenasLock = PTHREAD_MUTEX_INITIALIZER;

Arena* arenaById(int id) {
  Held guard(arenasLock);
  return id >= 0 && id < arenaCount ? &arenas[id] : nullptr;
}

// arenaCreate(byteLength) → id. Address space only: memory comes as it is touched.
napi_value arenaCreate(napi_env env, napi_callback_info info) {
  double arguments[1];
  numbers(env, info, arguments);
  const size_t bytes = static_cast<size_t>(arguments[0]);
  if (bytes == 0 || bytes > UINT32_MAX) return fail(env, "ERR_ARGUMENT", "an arena has at most 4 GiB");
  Held guard(arenasLock);
  if (arenaCount == MAX_ARENAS) return fail(env, "ERR_LIMIT", "too many arenas");
  // Room to align the start to a huge page. What lies around the arena stays without access: a guard on both sides.
  void* reserved = mmap(nullptr, bytes + HUGE_PAGE + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) return failErrno(env, "mmap of the arena");
  const uintptr_t aligned = (reinterpret_cast<uintptr_t>(reserved) + PAGE + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1);
  if (mprotect(reinterpret_cast<void*>(aligned), bytes, PROT_READ | PROT_WRITE) < 0) return failErrno(env, "mprotect of the arena");
  madvise(reinterpret_cast<void*>(aligned), bytes, MADV_HUGEPAGE);
  madvise(reinterpret_cast<void*>(aligned), bytes, MADV_DONTFORK);
  arenas[arenaCount] = {reinterpret_cast<uint8_t*>(aligned), bytes};
  return number(env, arenaCount++);
}

// arenaAttach(id) → ArrayBuffer over the mapping, in this thread
napi_value arenaAttach(napi_env env, napi_callback_info info) {
  double arguments[1];
  numbers(env, info, arguments);
  Arena* arena = arenaById(static_cast<int>(arguments[0]));
  if (arena == nullptr) return fail(env, "ERR_ARGUMENT", "there is no arena of that number");
  napi_value buffer;
  if (napi_create_external_arraybuffer(env, arena->base, arena->bytes, nullptr, nullptr, &buffer) != napi_ok)
    return fail(env, "ERR_UNSUPPORTED", "this Node.js does not allow external memory");
  return buffer;
}
