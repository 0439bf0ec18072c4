// Reads the orientation from EXIF data; every offset is checked against the data's real length.
#include "image/exif.h"

#include <cstddef>

namespace fovea::image {
namespace {

class TiffReader {
 public:
  TiffReader(std::span<const std::uint8_t> data, bool little) : data_(data), little_(little) {}
  bool has(std::size_t offset, std::size_t count) const {
    return offset <= data_.size() && count <= data_.size() - offset;
  }
  std::uint32_t u16(std::size_t at) const {
    return little_ ? data_[at] | data_[at + 1] << 8 : data_[at] << 8 | data_[at + 1];
  }
  std::uint32_t u32(std::size_t at) const {
    return little_ ? u16(at) | u16(at + 2) << 16 : u16(at) << 16 | u16(at + 2);
  }

 private:
  std::span<const std::uint8_t> data_;
  bool little_;
};

}  // namespace

int exif_orientation(std::span<const std::uint8_t> tiff) {
  if (tiff.size() < 8) return 1;
  const bool little = tiff[0] == 'I' && tiff[1] == 'I';
  if (!little && !(tiff[0] == 'M' && tiff[1] == 'M')) return 1;
  const TiffReader read(tiff, little);
  if (read.u16(2) != 42) return 1;
  const std::size_t directory = read.u32(4);
  if (!read.has(directory, 2)) return 1;
  const std::size_t entries = read.u16(directory);
  for (std::size_t i = 0; i < entries; ++i) {
    const std::size_t entry = directory + 2 + i * 12;
    if (!read.has(entry, 12)) return 1;
    if (read.u16(entry) != 0x0112) continue;
    const std::uint32_t type = read.u16(entry + 2), count = read.u32(entry + 4);
    if (count != 1) return 1;
    std::uint32_t value = 1;
    if (type == 3)
      value = read.u16(entry + 8);  // SHORT, as the standard says
    else if (type == 4)
      value = read.u32(entry + 8);  // LONG, as some cameras write
    else if (type == 1)
      value = tiff[entry + 8];  // BYTE
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

}  // namespace fovea::image
