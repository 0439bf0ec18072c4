// Marks what the shared library exports; everything else is hidden.
#pragma once
#if defined(_WIN32)
#error "fovea supports ELF platforms only"
#endif
#define FOVEA_API __attribute__((visibility("default")))
