// A folder of pictures with one folder per class.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "augment/dataset.h"
#include "image/decode.h"

namespace fovea {

struct ImageFolderOptions {
  int image_size = 0;  ///< Dataset::image_size: the side a model without a size of its own is trained at; 0: none
  /// Fixes classes and their order, so that val/ is numbered as train/ was: a class without a folder then has no
  /// pictures, a folder outside the list is an error. Empty: the folders' names in byte order.
  std::vector<std::string> class_names;
  bool allow_empty_classes = false;  ///< accept a class folder without pictures
  /// The first so many bytes of a file's name are its group (patient, camera, …), which splits never cut; 0: no groups.
  int group_prefix = 0;
  /// Pictures whose shorter side is longer than this are shrunk to it (antialiased bilinear) after decoding: large
  /// photographs then fit the loader's cache. JPEGs are decoded at 1/2, 1/4 or 1/8 where that is still twice as large,
  /// which is several times as fast. Slightly changes pixels; 0: never.
  int shrink_to = 0;
  image::DecodeOptions decode;
};

/// Classes are the folders directly below `folder`; their pictures may lie in further folders below them. Reads JPEG,
/// PNG and BMP by extension in any case (.jpg .jpeg .jpe .jfif .png .bmp .dib), and DICOM (.dcm) where the library was
/// built with DCMTK; hidden files and folders are ignored; links are followed, but never in a circle. The order is that
/// of the names' bytes, the same on every machine. Copies are cheap and share the list of files.
class FOVEA_API ImageFolder final : public Dataset {
 public:
  /// Only lists files; a damaged picture shows when it is read.
  /// Errors: file (missing, a file instead of a folder, unreadable, empty), usage (pictures but no class folders;
  /// folders train/ and val/ instead of classes; classes without pictures, by name; options out of range).
  explicit ImageFolder(const std::string& folder, const ImageFolderOptions& options = {});

  std::int64_t size() const override;
  image::Image image(std::int64_t i) const override;
  std::int64_t label(std::int64_t i) const override;
  const std::vector<std::string>& class_names() const override;
  /// The file's path: `folder` as given, then class and file.
  std::string name(std::int64_t i) const override;
  std::string group(std::int64_t i) const override;
  int image_size() const override;
  std::vector<std::string> warnings() const override;

  /// A seeded random division into train and val; see split() in augment/dataset.h.
  Splits split(const SplitOptions& options = {}) const;

 private:
  struct State;
  std::shared_ptr<const State> state_;
};

}  // namespace fovea
