// How loops over registers are written: macros only, for files compiled per instruction set.
#pragma once

/// Before a loop whose every pass has registers of its own: FOVEA_UNROLL(16) unrolls up to so many passes,
/// FOVEA_UNROLL(1) none.
#if defined(__clang__)
#define FOVEA_UNROLL(n) _Pragma("unroll")
#else
#define FOVEA_UNROLL_TEXT(text) _Pragma(#text)
#define FOVEA_UNROLL(n) FOVEA_UNROLL_TEXT(GCC unroll n)
#endif

/// On functions and lambdas that share a loop's registers: left out of line by GCC they keep them in memory (a tile
/// then runs at a third of its speed).
#define FOVEA_INLINE __attribute__((always_inline))
