// One function that recognises what kind of data lies at a path.
#pragma once

#include <string>
#include <vector>

#include "augment/dataset.h"
#include "image/decode.h"

namespace fovea {

struct OpenOptions {
  int image_size = 0;                    ///< Dataset::image_size
  std::vector<std::string> class_names;  ///< fixes classes and their order; empty: as the data has them
  int group_prefix = 0;                  ///< ImageFolderOptions::group_prefix
  image::DecodeOptions decode = {};      ///< of pictures that are files
};

/// Opens what lies at `path`:
///   a .csv file                        → CsvDataset; split chooses rows by their split column
///   a .json file                       → CocoDataset (COCO Camera Traps); split must be ""
///   a file made by `fovea pack`        → PackDataset
///   a folder with IDX files            → IdxDataset (MNIST, Fashion-MNIST)
///   a folder with CIFAR binary files   → CifarDataset
///   a folder with train/ and val/ (or valid/, validation/; and test/) → ImageFolder of that part, classes numbered as
///   in train/
///   any other folder                   → ImageFolder
/// @param split "train", "val", "test", or "" for everything there is in one piece. Data without such a part:
/// Error{usage};
///              see available_splits. IDX and CIFAR know train and test.
FOVEA_API DatasetPtr open_dataset(const std::string& path, const std::string& split = "",
                                  const OpenOptions& options = {});

/// The parts that the data at `path` comes in: {"train", "test"} for MNIST, {"train", "val"} for such folders; empty
/// for a plain folder of classes, which is to be divided with split(). Errors as open_dataset for a path that does not
/// exist.
FOVEA_API std::vector<std::string> available_splits(const std::string& path);

}  // namespace fovea
