// Writes small DICOM files, explicit VR little endian, so that tests decide every byte.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace dicom_file {

using Bytes = std::vector<std::uint8_t>;

inline std::string little(std::uint32_t v, int size) {
  std::string out;
  for (int i = 0; i < size; ++i) out += static_cast<char>(v >> 8 * i & 255);
  return out;
}
inline std::string words(const std::vector<int>& values) {
  std::string out;
  for (const int v : values) out += little(static_cast<std::uint32_t>(v), 2);
  return out;
}
inline std::string tag(std::uint32_t t) { return little(t >> 16, 2) + little(t & 0xffff, 2); }

/// An element; values are padded to an even length.
inline std::string element(std::uint32_t t, const std::string& vr, std::string value) {
  if (value.size() % 2) value += vr == "UI" || vr == "OB" || vr == "UN" ? '\0' : ' ';
  const bool is_long = vr == "OB" || vr == "OW" || vr == "UN" || vr == "SQ" || vr == "UT" || vr == "UC" || vr == "UR";
  const auto size = static_cast<std::uint32_t>(value.size());
  return tag(t) + vr + (is_long ? std::string(2, '\0') + little(size, 4) : little(size, 2)) + value;
}
inline std::string item(const std::string& elements) {
  return tag(0xfffee000) + little(static_cast<std::uint32_t>(elements.size()), 4) + elements;
}
/// Pixel data in fragments, behind an empty table of offsets.
inline std::string packed(const std::vector<std::string>& fragments) {
  std::string out = tag(0x7fe00010) + "OB" + std::string(2, '\0') + little(0xffffffff, 4) + item("");
  for (std::string f : fragments) out += item(f.size() % 2 ? f + '\0' : f);
  return out + tag(0xfffee0dd) + little(0, 4);
}

inline constexpr const char* kPlain = "1.2.840.10008.1.2.1";
inline constexpr const char* kJpeg = "1.2.840.10008.1.2.4.50";
inline constexpr const char* kJpeg2000 = "1.2.840.10008.1.2.4.90";

/// A file: preamble, meta information, and the elements, which must be in order.
inline Bytes file(const std::string& elements, const std::string& syntax = kPlain, const std::string& preamble = {},
                  const std::string& more_meta = {}) {
  std::string meta = element(0x00020001, "OB", std::string("\0\1", 2)) +
                     element(0x00020002, "UI", "1.2.840.10008.5.1.4.1.1.7") + element(0x00020003, "UI", "1.2.3.4.5.6") +
                     element(0x00020010, "UI", syntax) + more_meta;
  meta = element(0x00020000, "UL", little(static_cast<std::uint32_t>(meta.size()), 4)) + meta;
  std::string start = preamble;
  start.resize(128);
  const std::string all = start + "DICM" + meta + elements;
  return {all.begin(), all.end()};
}

struct Picture {
  int rows = 2, columns = 2, samples = 1, allocated = 8, stored = 8;
  bool is_signed = false, planar = false;
  std::string photometric = "MONOCHROME2";
  std::string more;  ///< elements between (0028,0103) and the pixels
};
/// The elements of group 0028 that describe a picture.
inline std::string description(const Picture& p) {
  std::string out = element(0x00280002, "US", little(static_cast<std::uint32_t>(p.samples), 2)) +
                    element(0x00280004, "CS", p.photometric);
  if (p.samples == 3) out += element(0x00280006, "US", little(p.planar ? 1 : 0, 2));
  return out + element(0x00280010, "US", little(static_cast<std::uint32_t>(p.rows), 2)) +
         element(0x00280011, "US", little(static_cast<std::uint32_t>(p.columns), 2)) +
         element(0x00280100, "US", little(static_cast<std::uint32_t>(p.allocated), 2)) +
         element(0x00280101, "US", little(static_cast<std::uint32_t>(p.stored), 2)) +
         element(0x00280102, "US", little(static_cast<std::uint32_t>(p.stored - 1), 2)) +
         element(0x00280103, "US", little(p.is_signed ? 1 : 0, 2)) + p.more;
}
inline Bytes picture(const Picture& p, const std::string& pixels) {
  return file(element(0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.7") + description(p) +
              element(0x7fe00010, p.allocated == 16 ? "OW" : "OB", pixels));
}

}  // namespace dicom_file
