// Turns a dataset into batches on worker threads, in an order and with augmentations that depend on (seed, epoch, item)
// only.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "augment/dataset.h"
#include "augment/transform.h"
#include "image/preprocess.h"

namespace fovea {

/// Pictures before their last changes (LoaderOptions::unfinished).
struct UnfinishedPictures {
  Tensor pixels;                          ///< u8 [N,H,W,C]
  std::vector<kernels::PixelStep> steps;  ///< per_picture of each picture, one picture after the other
  int per_picture = 0;
  Tensor values;                        ///< f32 [256,C]: what the levels become
  bool reversed = false;                ///< channels change places then (BGR)
  std::vector<kernels::MixStep> mixes;  ///< mixup and cutmix, in order
};

struct Batch {
  Tensor images;                      ///< f32 [N,H,W,C], normalised as the model's preprocessing says
  Tensor labels;                      ///< i64 [N]
  Tensor soft_labels;                 ///< f32 [N,classes] when mixup or cutmix mixed labels, undefined otherwise
  std::vector<std::int64_t> indices;  ///< which items of the dataset
  std::int64_t first = 0;             ///< place of the first one in the whole batch, of which this is a part
  std::optional<UnfinishedPictures> unfinished;  ///< in place of images where asked for: use images_on()
};

/// The batch's images on a device, finished there where the loader has left that to be done: the same bits as without.
FOVEA_API Tensor images_on(const Batch& batch, Device device);

/// Of a batch of n pictures, part `index` of `count` has the places from n·index/count up to n·(index + 1)/count,
/// rounded down.
struct BatchPart {
  int index = 0, count = 1;
};

struct PoissonSampling {
  double rate = 0;           ///< in (0, 1]
  std::int64_t batches = 1;  ///< of an epoch
  std::uint64_t seed = 0;    ///< of the draws alone: privacy needs one that nobody knows
};

struct LoaderOptions {
  std::int64_t batch_size = 32;
  bool shuffle = false;
  bool drop_last = false;
  std::uint64_t seed = 0;
  int workers = 1;   ///< worker threads, at least 0; 0 loads on the calling thread; results do not depend on it
  int prefetch = 4;  ///< batches kept ready
  image::Preprocessing preprocessing;
  std::vector<TransformPtr> transforms;             ///< applied to each picture, in order
  std::vector<BatchTransformPtr> batch_transforms;  ///< mixup, cutmix
  std::vector<double>
      sample_weights;  ///< oversampling: draws size() items with these weights, with replacement; empty: each once
  /// Poisson sampling: every item joins every batch with probability poisson->rate, so that batches differ in size and
  /// may be empty (images of shape [0,H,W,C], and no indices). In place of shuffling, batch_size and sample_weights.
  std::optional<PoissonSampling> poisson = {};
  /// Which part of each batch is made here, where several ranks train on one batch. Pictures and their changes are
  /// those of the whole; mixup and cutmix mix within a part. A part may be empty (images of shape [0,H,W,C]), so that
  /// every rank gets equally many.
  BatchPart part = {};
  /// Leaves the changes that a GPU can make (Transform::plans(), from the first one on behind which all do), the step
  /// to floats and mixing to images_on(): a quarter of the bytes travels, and workers only decode, crop and resize.
  /// Kept off where a batch transform cannot be left. FOVEA_VERBOSE=1 tells what is left.
  bool unfinished = false;
  bool skip_corrupt = false;  ///< skip unreadable pictures (reported in skipped()) instead of throwing
  bool cache = true;          ///< keep decoded pictures in memory while they fit cache_bytes
  std::int64_t cache_bytes = std::int64_t{1} << 30;
};

class FOVEA_API Loader {
 public:
  /// Error{usage} for an empty dataset or options out of range.
  Loader(DatasetPtr dataset, LoaderOptions options);
  ~Loader();
  Loader(Loader&&) noexcept;
  Loader& operator=(Loader&&) noexcept;

  /// Begins an epoch (dropping what is left of the last). `first_batch` skips batches already seen, for resuming.
  void start_epoch(std::int64_t epoch, std::int64_t first_batch = 0);
  /// The next batch, or false at the end of the epoch. Errors from workers are rethrown here, in order.
  bool next(Batch& batch);
  std::int64_t batches_per_epoch() const;
  const Dataset& dataset() const;
  const LoaderOptions& options() const;
  /// Pictures left out because they cannot be read: "path: reason", each once.
  std::vector<std::string> skipped() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace fovea
