// A fault that AddressSanitizer must report, to show that it would report others (npm run asan -- --planted): 1 writes behind the end of a ring's
// slots, 2 looks at a ring that has been given back. Only a build with AddressSanitizer can have one.
#pragma once

#ifndef PLANTED_FAULT
#define PLANTED_FAULT 0
#elif !defined(__SANITIZE_ADDRESS__)
#error "PLANTED_FAULT is for builds with -fsanitize=address alone"
#endif
