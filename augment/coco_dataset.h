// Pictures listed in a COCO Camera Traps file: the JSON in which camera-trap archives (LILA and others) publish labels.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "augment/dataset.h"
#include "image/decode.h"

namespace fovea {

/// What Dataset::group() gives, and so what split() never cuts.
enum class CocoGroup : std::uint8_t {
  automatic,  ///< location where the file has locations, else seq_id
  location,   ///< the camera's place: what tells whether a model works at places it has not seen
  sequence,   ///< seq_id: pictures of one burst
  none,
};

struct CocoOptions {
  std::vector<std::string> class_names;  ///< fixes classes and their order; empty: those that occur, by category id
  std::string folder;                    ///< what file_name is relative to; empty: the folder of the JSON file
  CocoGroup group = CocoGroup::automatic;
  int image_size = 0;       ///< Dataset::image_size
  bool check_files = true;  ///< look now which files exist; otherwise a missing one is an error when it is read
  image::DecodeOptions decode;
};

/// An object with the arrays `images` (id, file_name; optionally location, seq_id, corrupt), `annotations` (image_id,
/// category_id) and `categories` (id, name), in any order. Ids, locations and sequences are strings or whole numbers;
/// everything else (bbox, width, info, …) is skipped. Plain COCO files have the same three arrays and are read too.
///
/// One picture has one label here:
///   - annotations of several categories: the one with most annotations (boxes) counts; "empty" never counts against an
///     animal; where two lead with equally many, the picture is left out;
///   - an empty picture is annotated with a category called "empty"; one without any annotation is unlabelled, not
///     empty, and left out;
///   - pictures marked corrupt, and those whose file is missing (archives withhold pictures of people), are left out.
/// warnings() says how many and names some; nothing is left out silently. Pictures keep the order of `images`.
///
/// Such files come from others, so file_name may not leave the folder: absolute paths and ".." are Error{format}.
/// (Links that lie in the folder are followed.) Other errors: file (no such file), format (bad JSON, nesting deeper
/// than 64, wrong types, missing fields, ids given twice, unknown categories), each naming the place; usage (a label
/// outside class_names); file or format when no picture remains. The JSON is read as a stream: memory grows with the
/// number of pictures, not with what else the file holds.
class FOVEA_API CocoDataset final : public Dataset {
 public:
  explicit CocoDataset(const std::string& json, const CocoOptions& options = {});

  std::int64_t size() const override;
  image::Image image(std::int64_t i) const override;
  std::int64_t label(std::int64_t i) const override;
  const std::vector<std::string>& class_names() const override;
  std::string name(std::int64_t i) const override;
  std::string group(std::int64_t i) const override;
  int image_size() const override;
  std::vector<std::string> warnings() const override;
  Splits split(const SplitOptions& options = {}) const {
    return fovea::split(std::make_shared<CocoDataset>(*this), options);
  }

 private:
  struct State;
  std::shared_ptr<const State> state_;
};

}  // namespace fovea
