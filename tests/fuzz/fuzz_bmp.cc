// Damaged BMP files.
#include "fuzz/decode_ways.h"

std::vector<std::string> fuzz_seeds() { return fuzz::pictures({".bmp"}); }

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::decode_all_ways(std::vector<std::uint8_t>(data, data + size));
  return 0;
}
