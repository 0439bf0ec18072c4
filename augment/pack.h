// Packed data sets: pictures decoded once, brought to the size they are trained at, in one file that is mapped into
// memory. `fovea pack` makes them; whatever takes a folder of pictures takes a pack.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "augment/dataset.h"
#include "image/resize.h"

namespace fovea {

/// What is done to a picture before it is stored.
struct PackRule {
  /// Shorter side in pixels that larger pictures are shrunk to; 0: as decoded. With a model's own resize_size and
  /// filter, what its preprocessing makes of the packed picture is to the bit what it makes of the original.
  int shorter_side = 256;
  /// Both above 0: every picture becomes width × height instead, the aspect ratio is lost (models that stretch).
  int width = 0, height = 0;
  image::Filter filter = image::Filter::bilinear;
  int channels = 0;  ///< 1 or 3: converted to so many first; 0: as stored
};

/// One part of what is packed: "train", "val", …, or "" where data comes in one piece.
struct PackPart {
  std::string name;
  DatasetPtr data;
};

struct PackOptions {
  PackRule rule;
  /// Where the data lies, so that changes are noticed later: only if it is below the folder of the pack, for a file
  /// that comes from elsewhere should lead nobody to look at other folders. Empty: not noticed.
  std::string source;
  std::vector<double> class_weights;  ///< as CsvDataset::class_weights()
  bool skip_corrupt = false;          ///< leave out pictures that cannot be read instead of throwing
  std::function<void(std::int64_t, std::int64_t)> on_pictures;  ///< done, of how many
};

/// Writes a pack, decoding on all threads. Atomic. Returns "name: reason" of what was left out. Error{usage} for no
/// pictures, parts of different classes, or a rule out of range.
FOVEA_API std::vector<std::string> write_pack(const std::string& path, const std::vector<PackPart>& parts,
                                              const PackOptions& options = {});

struct PackDatasetOptions {
  std::string part;                      ///< takes only this one; empty: all
  std::vector<std::string> class_names;  ///< fixes classes and their order; empty: the pack's
  int image_size = 0;                    ///< Dataset::image_size
  bool check_source = false;             ///< warn where the data has changed since it was packed
  int group_prefix = 0;                  ///< as ImageFolderOptions::group_prefix, instead of the groups in the pack
};

/// The pictures of a pack. The file is mapped, and must not be truncated while this lives.
class FOVEA_API PackDataset final : public Dataset {
 public:
  /// All sizes and offsets are checked here. Errors: file, format (no pack, or a damaged one), usage (no such part; a
  /// class outside class_names).
  explicit PackDataset(const std::string& path, const PackDatasetOptions& options = {});

  std::int64_t size() const override;
  image::Image image(std::int64_t i) const override;
  std::int64_t label(std::int64_t i) const override;
  const std::vector<std::string>& class_names() const override;
  /// As in the data that was packed.
  std::string name(std::int64_t i) const override;
  std::string group(std::int64_t i) const override;
  int image_size() const override;
  bool in_memory() const override { return true; }
  /// That the data has changed since it was packed, where it can be found.
  std::vector<std::string> warnings() const override;

  /// The parts there are, but for "".
  const std::vector<std::string>& parts() const;
  const std::vector<double>& class_weights() const;
  const PackRule& rule() const;

  /// Whether a file begins as packs do.
  static bool is_pack(const std::string& path);

 private:
  struct State;
  std::shared_ptr<const State> state_;
};

}  // namespace fovea
