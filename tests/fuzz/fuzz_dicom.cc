// Damaged DICOM files: the pictures' decoder, and de-identification, whose result must be readable. Parsing is DCMTK's.
#include "fuzz/decode_ways.h"
#include "insight/protect/dicom.h"

std::vector<std::string> fuzz_seeds() { return fuzz::pictures({".dcm"}); }

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::vector<std::uint8_t> bytes(data, data + size);
  fuzz::decode_all_ways(bytes);
  const fovea::insight::PseudonymKey key({1, 2, 3});
  std::vector<std::uint8_t> clean;
  try {
    clean = fovea::insight::deidentify_dicom(bytes, key).bytes;
  } catch (const fovea::Error&) {
    return 0;
  }
  if (fovea::insight::deidentify_dicom(clean, key).bytes.empty()) __builtin_trap();
  return 0;
}
