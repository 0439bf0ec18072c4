// A fuzz target is two functions in tests/fuzz/fuzz_<reader>.cc; driver.cc is the rest. The first has libFuzzer's
// shape, so the same file also links with clang's -fsanitize=fuzzer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

/// Gives `data` to the reader and catches fovea::Error, the right answer to damage; any other exception, a crash, a
/// hang or a sanitizer report is a finding.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

/// Good files, to be damaged: small ones, and whole networks where the tests have them.
std::vector<std::string> fuzz_seeds();
