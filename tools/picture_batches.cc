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

Pictures find_pictures(const Model& model, const std::string& given, const std::string& part, std::int64_t most) {
  const std::string path = data_path(given);
  Pictures result;
  if (std::vector<std::string> files = plain_pictures(path); !files.empty()) {
    result.data = std::make_shared<PlainFolder>(std::move(files));
  } else {
    const std::vector<std::string> parts = available_splits(path);
    for (const std::string& wanted : {part, std::string(part == "val" ? "test" : "train")}) {
      if (result.part.empty() && std::find(parts.begin(), parts.end(), wanted) != parts.end()) result.part = wanted;
    }
    result.data = open_dataset(path, result.part);
    result.labelled = result.data->class_names() == model.class_names;
  }
  result.data = spread(result.data, most);
  return result;
}

void each_batch(const Pictures& pictures, const Model& model, const TakeBatch& take) {
  LoaderOptions loading;
  loading.batch_size = 8;
  loading.preprocessing = model.preprocessing;
  loading.skip_corrupt = true;
  loading.cache = false;
  Loader loader(pictures.data, loading);
  loader.start_epoch(0);
  bool any = false;
  for (Batch batch; loader.next(batch);) {
    any = true;
    take(std::move(batch.images), batch.labels.values<std::int64_t>());
  }
  for (const std::string& s : loader.skipped()) std::fprintf(stderr, "fovea: left out %s\n", s.c_str());
  if (!any) throw Error(ErrorKind::usage, "pictures", "there is none that can be read");
}

}  // namespace fovea::tools
