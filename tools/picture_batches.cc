#include "tools/picture_batches.h"

#include <algorithm>
#include <cstdio>

#include "augment/files_internal.h"
#include "augment/loader.h"
#include "augment/open.h"
#include "core/error.h"
#include "image/decode.h"
#include "tools/data_source.h"

namespace fovea::tools {
namespace {

/// Pictures directly in a folder, without classes.
class PlainFolder final : public Dataset {
 public:
  explicit PlainFolder(std::vector<std::string> files) : files_(std::move(files)) {}
  std::int64_t size() const override { return static_cast<std::int64_t>(files_.size()); }
  image::Image image(std::int64_t i) const override { return image::read_image(files_[static_cast<std::size_t>(i)]); }
  std::int64_t label(std::int64_t) const override { return 0; }
  const std::vector<std::string>& class_names() const override { return names_; }
  std::string name(std::int64_t i) const override { return files_[static_cast<std::size_t>(i)]; }

 private:
  std::vector<std::string> files_, names_{"picture"};
};

/// The pictures directly in `path`, sorted; nothing where it is no folder or holds none.
std::vector<std::string> plain_pictures(const std::string& path) {
  std::vector<std::string> found;
  if (!files::is_folder(path)) return found;
  for (const files::Entry& entry : files::list(path)) {
    if (!entry.is_folder && files::is_picture(entry.name)) found.push_back(files::join(path, entry.name));
  }
  return found;
}

}  // namespace

DatasetPtr spread(DatasetPtr data, std::int64_t most) {
  if (most <= 0 || data->size() <= most) return data;
  std::vector<std::int64_t> chosen;
  for (std::int64_t i = 0; i < most; ++i) chosen.push_back(i * data->size() / most);
  return std::make_shared<Subset>(data, chosen);
}

PictureBatches read_pictures(const Model& model, const std::string& given, const std::string& part,
                             const PictureOptions& options) {
  const std::string path = data_path(given);
  PictureBatches result;
  DatasetPtr data;
  if (std::vector<std::string> files = plain_pictures(path); !files.empty()) {
    data = std::make_shared<PlainFolder>(std::move(files));
  } else {
    const std::vector<std::string> parts = available_splits(path);
    for (const std::string& wanted : {part, std::string(part == "val" ? "test" : "train")}) {
      if (result.part.empty() && std::find(parts.begin(), parts.end(), wanted) != parts.end()) result.part = wanted;
    }
    data = open_dataset(path, result.part);
    result.labelled = data->class_names() == model.class_names;
  }
  data = spread(data, options.most);
  LoaderOptions loading;
  loading.batch_size = options.batch;
  loading.workers = options.workers;
  loading.preprocessing = model.preprocessing;
  loading.skip_corrupt = true;
  loading.cache = false;
  Loader loader(data, loading);
  loader.start_epoch(0);
  for (Batch batch; loader.next(batch);) {
    const auto labels = batch.labels.values<std::int64_t>();
    result.labels.emplace_back(labels.begin(), labels.end());
    result.count += batch.images.dim(0);
    result.images.push_back(std::move(batch.images));
  }
  for (const std::string& s : loader.skipped()) std::fprintf(stderr, "fovea: left out %s\n", s.c_str());
  if (result.count == 0) throw Error(ErrorKind::usage, path, "there is no readable picture");
  return result;
}

}  // namespace fovea::tools
