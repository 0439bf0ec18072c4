// What is done about rare classes: plans, synthetic pictures, the manifest; originals stay as they are.
#include "insight/mitigate.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "augment/csv_dataset.h"
#include "augment/image_folder.h"
#include "catch.h"
#include "core/error.h"
#include "core/io/file.h"
#include "core/io/sha256.h"
#include "image/encode.h"

using namespace fovea;
using namespace fovea::insight;
namespace fs = std::filesystem;

namespace {

struct Folder {
  Folder() : path((fs::temp_directory_path() / ("fovea-mitigate-" + std::to_string(::getpid()))).string()) {
    fs::remove_all(path);
    fs::create_directories(path);
  }
  ~Folder() { fs::remove_all(path); }
  std::string operator/(const std::string& name) const { return path + "/" + name; }
  std::string path;
};

image::Image noise(int width, int height, int channels, std::uint64_t seed, int low = 40, int range = 100) {
  image::Image out(width, height, channels);
  Rng rng(seed, "mitigate test");
  for (std::uint8_t& v : out.pixels)
    v = static_cast<std::uint8_t>(low + static_cast<int>(rng.below(static_cast<std::uint64_t>(range))));
  return out;
}

double mean(const image::Image& i) {
  double sum = 0;
  for (const std::uint8_t v : i.pixels) sum += v;
  return sum / static_cast<double>(i.pixels.size());
}

/// common: 20 JPEGs, rare: 3 PNGs, "the ;, \"last\"": one; the validation part 2 of each.
void make_data(const std::string& folder) {
  std::uint64_t n = 0;
  for (const auto& [name, count] : {std::pair<const char*, int>{"common", 20}, {"rare", 3}, {"the ;, \"last\"", 1}}) {
    for (const char* part : {"train", "val"}) {
      const std::string place = folder + "/" + part + "/" + name;
      fs::create_directories(place);
      for (int i = 0; i < (*part == 't' ? count : 2); ++i)
        image::write_image(place + "/p" + std::to_string(i) + (*name == 'c' ? ".jpg" : ".png"),
                           noise(24 + i, 20, 3, ++n));
    }
  }
}

std::vector<std::pair<std::string, DatasetPtr>> parts_of(const std::string& folder) {
  const auto train = std::make_shared<ImageFolder>(folder + "/train");
  return {{"train", train}, {"val", std::make_shared<ImageFolder>(folder + "/val")}};
}

std::map<std::string, std::string> contents(const std::string& folder) {
  std::map<std::string, std::string> out;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    const std::vector<std::uint8_t> bytes = read_file(entry.path().string());
    out[entry.path().lexically_relative(folder).string()] = std::string(bytes.begin(), bytes.end());
  }
  return out;
}

}  // namespace

TEST_CASE("mitigation: the plan brings each class up to its share") {
  const std::vector<std::string> names{"a", "b", "c", "d"};
  const auto plan = plan_mitigation(names, {100, 60, 4, 0});
  CHECK(plan[0].synthetic + plan[0].repeated + plan[1].synthetic + plan[1].repeated == 0);
  CHECK(plan[2].synthetic == 20);                    // five for each
  CHECK(plan[2].repeated == 26);                     // up to 50
  CHECK(plan[3].synthetic + plan[3].repeated == 0);  // of nothing comes nothing
  const auto weighed = plan_mitigation(names, {100, 60, 4, 0}, {.kinds = {Mitigation::weights}});
  CHECK(weighed[2].synthetic + weighed[2].repeated == 0);
  CHECK(weighed[0].weight == Approx(164.0 / (3 * 100)));
  CHECK(weighed[2].weight == Approx(164.0 / (3 * 4)));
  CHECK(weighed[3].weight == 1);
  const auto both =
      plan_mitigation(names, {100, 100, 50, 100}, {.kinds = {Mitigation::weights, Mitigation::oversample}, .share = 1});
  CHECK(both[2].repeated == 50);
  CHECK(both[2].weight == 1);
  CHECK_THROWS_AS(plan_mitigation(names, {1, 2}), Error);
  CHECK_THROWS_AS(plan_mitigation(names, {0, 0, 0, 0}), Error);
  CHECK_THROWS_AS(plan_mitigation(names, {1, 2, 3, 4}, {.share = 1.5}), Error);
  CHECK_THROWS_AS(mitigation_from_string("smote"), Error);
}

TEST_CASE("mitigation: synthetic pictures") {
  for (const int channels : {1, 3}) {
    const image::Image a = noise(40, 30, channels, 1, 20, 60), b = noise(25, 50, 3, 2, 150, 60);
    for (const Mitigation kind : {Mitigation::augment, Mitigation::mixup, Mitigation::paste, Mitigation::style}) {
      Rng first(7, "x"), again(7, "x"), another(8, "x");
      std::string told;
      const image::Image made = synthesize(kind, a, b, first, &told);
      CHECK(made.width == a.width);
      CHECK(made.height == a.height);
      CHECK(made.channels == a.channels);
      CHECK_FALSE(made == a);
      CHECK(!told.empty());
      CHECK(made == synthesize(kind, a, b, again));
      CHECK_FALSE(made == synthesize(kind, a, b, another));
      if (kind != Mitigation::augment) {  // between the two
        CHECK(mean(made) > mean(a) + 5);
        CHECK(mean(made) < mean(b) + 1);
      }
    }
    // A paste leaves the corners alone; a picture of one colour takes the other's brightness without noise.
    Rng rng(3, "x");
    const image::Image made = synthesize(Mitigation::paste, a, b, rng);
    for (int c = 0; c < channels; ++c) CHECK(made.at(0, 0, c) == a.at(0, 0, c));
    const image::Image even =
        synthesize(Mitigation::style, image::Image(8, 8, channels, 50), image::Image(8, 8, 3, 200), rng);
    CHECK(*std::max_element(even.pixels.begin(), even.pixels.end()) ==
          *std::min_element(even.pixels.begin(), even.pixels.end()));
    CHECK(even.pixels[0] > 100);
  }
  Rng rng(1, "x");
  CHECK_THROWS_AS(synthesize(Mitigation::oversample, noise(4, 4, 3, 1), {}, rng), Error);
  CHECK_THROWS_AS(synthesize(Mitigation::augment, {}, {}, rng), Error);
}

TEST_CASE("mitigation: the manifest, its pictures and where they come from") {
  const Folder folder;
  make_data(folder / "data");
  const auto before = contents(folder / "data");
  const auto parts = parts_of(folder / "data");
  MitigationOptions o;
  o.kinds.push_back(Mitigation::weights);
  const auto plan = plan_mitigation(parts[0].second->class_names(), class_counts(*parts[0].second), o);
  write_mitigation(folder / "even", parts, plan, o);
  CHECK(contents(folder / "data") == before);

  const CsvDataset train(folder / "even/manifest.csv", {.split = "train"}),
      val(folder / "even/manifest.csv", {.split = "val"});
  CHECK(class_counts(train) == std::vector<std::int64_t>{20, 10, 10});
  CHECK(class_counts(val) == std::vector<std::int64_t>{2, 2, 2});
  CHECK(train.class_names() == parts[0].second->class_names());
  CHECK(train.class_weights().size() == 3);
  CHECK(train.class_weights()[1] == Approx(40.0 / 30).epsilon(1e-5));
  for (std::int64_t i = 0; i < train.size(); ++i) CHECK(train.image(i).height == 20);
  for (std::int64_t i = 0; i < val.size(); ++i) CHECK(val.name(i).find("synthetic") == std::string::npos);

  // Every synthetic picture has its origin: pictures of the training part, of its class but for style, and its hash.
  const std::vector<std::uint8_t> bytes = read_file(folder / "even/provenance.csv");
  const auto rows = parse_csv({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  std::set<std::string> listed, kinds;
  for (std::size_t r = 1; r < rows.size(); ++r) {
    const auto& f = rows[r].fields;
    REQUIRE(f.size() == 7);
    listed.insert(f[0]);
    kinds.insert(f[2]);
    CHECK(f[3].find("../data/train/" + f[1]) == 0);
    if (f[2] == "mixup" || f[2] == "paste") {
      CHECK(f[4].find("../data/train/" + f[1]) == 0);
      CHECK(f[3] != f[4]);
      CHECK(f[1] == "rare");  // the last has one picture only
    }
    if (f[2] == "style") {
      CHECK(f[4].find("../data/train/") == 0);
      CHECK(f[4].find("../data/train/" + f[1] + "/") == std::string::npos);
    }
    CHECK(fs::path(f[0]).extension() == fs::path(f[3]).extension());
    CHECK(sha256(read_file(folder / ("even/" + f[0]))) == f[6]);
  }
  CHECK(kinds == std::set<std::string>{"augment", "mixup", "paste", "style"});
  std::size_t files = 0;
  for (const auto& [name, content] : contents(folder / "even")) files += name.find("synthetic") == 0;
  CHECK(files == listed.size());
  CHECK(files == 7 + 5);

  // The same seed gives the same bytes; a manifest is never overwritten.
  write_mitigation(folder / "again", parts, plan, o);
  CHECK(contents(folder / "again") == contents(folder / "even"));
  CHECK_THROWS_AS(write_mitigation(folder / "even", parts, plan, o), Error);
  CancelToken stop;
  stop.request();
  o.cancel = &stop;
  CHECK_THROWS_AS(write_mitigation(folder / "stopped", parts, plan, o), Error);
  CHECK_FALSE(fs::exists(folder / "stopped/manifest.csv"));
  const auto memory = std::make_shared<TensorDataset>(
      Tensor(Shape{1, 4, 4, 3}, DType::u8), std::vector<std::int64_t>{0}, std::vector<std::string>{"a", "b", "c"});
  CHECK_THROWS_AS(write_mitigation(folder / "memory", {{"train", memory}}, plan), Error);
  CHECK_THROWS_AS(write_mitigation(folder / "none", {{"val", parts[1].second}}, plan), Error);
}

TEST_CASE("mitigation: weights of a manifest") {
  const Folder folder;
  make_data(folder / "data");
  const auto write = [&](const char* weights) {
    write_file(
        folder / "data/m.csv",
        std::string("path,label,weight\ntrain/common/p0.jpg,a,1\ntrain/common/p1.jpg,a,3\ntrain/rare/p0.png,b,") +
            weights + "\n");
    return CsvDataset(folder / "data/m.csv").class_weights();
  };
  CHECK(write("5e1") == std::vector<double>{2, 50});
  for (const char* bad : {"", "0", "-1", "nan", "inf", "1x", "1e9"}) CHECK_THROWS_AS(write(bad), Error);
}
