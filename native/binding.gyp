{
  "targets": [
    {
      "target_name": "uring_engine",
      "sources": ["addon/module.cc", "addon/arena.cc", "addon/ring.cc", "addon/ring-life.cc", "addon/slots.cc", "addon/sockets.cc", "addon/passing.cc", "addon/wake.cc"],
      "cflags_cc": ["-std=c++17", "-O2", "-Wall", "-Wextra", "-Wno-cast-function-type", "-fvisibility=hidden"],
      "conditions": [["OS!='linux'", { "sources!": ["addon/module.cc", "addon/arena.cc", "addon/ring.cc", "addon/ring-life.cc", "addon/slots.cc", "addon/sockets.cc", "addon/passing.cc", "addon/wake.cc"], "type": "none" }]]
    }
  ]
}
