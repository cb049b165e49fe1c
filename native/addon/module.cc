#include "addon.h"

static napi_value init(napi_env env, napi_value exports) {
  method(env, exports, "arenaCreate", arenaCreate, nullptr);
  method(env, exports, "arenaAttach", arenaAttach, nullptr);
  method(env, exports, "wake", wake, nullptr);
  method(env, exports, "ringCreate", ringCreate, nullptr);
  registerSockets(env, exports);
  registerPassing(env, exports);
  return exports;
}

NAPI_MODULE(NODE_GYP_MODULE_NAME, init)
