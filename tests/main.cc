// The one place that adapts Catch2 2 (Debian 12) and 3; tests include "catch.h".
#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_session.hpp>
#else
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>
#endif

// Tests ask for impossible sizes on purpose: the address sanitizer is to let malloc fail as it does without it.
extern "C" __attribute__((visibility("default"))) const char* __asan_default_options();
extern "C" __attribute__((visibility("default"))) const char* __asan_default_options() {
  return "allocator_may_return_null=1";
}

int main(int argc, char** argv) { return Catch::Session().run(argc, argv); }
