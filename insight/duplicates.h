// The same picture twice: exactly, or after it was encoded anew, resized or brightened.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "image/image.h"

namespace fovea::insight {

/// What a picture is compared by.
struct Fingerprint {
  std::string pixels;         ///< size and SHA-256 of the pixels: equal for equal pictures, whatever the file format
  std::uint64_t hash = 0;     ///< signs of the 8×8 lowest frequencies of a 32×32 thumbnail, against their median
  std::vector<float> detail;  ///< 48×48 thumbnail without its low frequencies, of mean 0 and length 1; empty: uniform
};
FOVEA_API Fingerprint fingerprint(const image::Image& picture);

struct DuplicatePair {
  std::int64_t a = 0, b = 0;  ///< a < b
  bool exact = false;
  double likeness = 0;  ///< correlation of the details, 1 for exact ones
};
/// All pairs of equal or nearly equal pictures, by a, then b. Near ones differ in at most `distance` of 64 bits and
/// their details correlate by `likeness` at least: pictures of one kind (chest X-rays) share their low frequencies,
/// only copies share their details. Mirrored, turned and cropped copies are not found.
FOVEA_API std::vector<DuplicatePair> find_duplicates(const std::vector<Fingerprint>& pictures, int distance = 12,
                                                     double likeness = 0.9);

}  // namespace fovea::insight
