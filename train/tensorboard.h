// Writes TensorBoard event files (TFRecord framing around Event protocol buffers, both encoded here by hand).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/export.h"

namespace fovea {

/// One events.out.tfevents.* file in a folder; TensorBoard reads all of a folder as one run. Each record is complete on
/// disk (as far as the system is concerned) once its function returns, so that a killed run leaves a readable file.
class FOVEA_API TensorBoardWriter {
 public:
  /// Creates the folder if needed. Error{file}.
  explicit TensorBoardWriter(const std::string& folder);
  ~TensorBoardWriter();
  TensorBoardWriter(const TensorBoardWriter&) = delete;
  TensorBoardWriter& operator=(const TensorBoardWriter&) = delete;

  /// A point of a curve: tag "loss/train". The value is stored as a 32-bit float. Error{file} when it cannot be
  /// written.
  void scalar(std::string_view tag, std::int64_t step, double value);
  const std::string& path() const { return path_; }

 private:
  void record(const std::string& event);
  std::string path_;
  int descriptor_ = -1;
};

/// CRC-32C (Castagnoli; RFC 3720), as TFRecord files use it.
FOVEA_API std::uint32_t crc32c(std::string_view bytes);

}  // namespace fovea
