// Sums of products of neighbours, as instructions: of GCC 12's intrinsics for them the sum is copied from register to
// register and to memory (the int8 tile ran at 367 instead of 461 GOP/s).
#pragma once

#include <immintrin.h>

/// sum + a · b by `instruction` (vpdpbusd: a u8, b i8; vdpbf16ps), for vectors of any width.
#define FOVEA_DOT(instruction, sum, a, b)                            \
  ({                                                                 \
    auto total_ = (sum);                                             \
    asm(#instruction " %2, %1, %0" : "+v"(total_) : "v"(a), "v"(b)); \
    total_;                                                          \
  })
