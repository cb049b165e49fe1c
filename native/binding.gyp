{
  "targets": [
    {
      "target_name": "uring_engine",
      "sources": ["addon/module.cc", "addon/ring.cc", "addon/arena.cc", "addon/sockets.cc"],
      "cflags_cc": ["-std=c++17", "-O2", "-Wall", "-Wextra", "-Wno-cast-function-type", "-fvisibility=hidden"],
      "conditions": [["OS!='linux'", { "sources!": ["addon/module.cc", "addon/ring.cc", "addon/arena.cc", "addon/sockets.cc"], "type": "none" }]]
    }
  ]
}
