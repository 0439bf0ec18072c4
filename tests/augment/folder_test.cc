// Class folders, CIFAR files and open_dataset: sound trees, and trees as people have them.
#include <sys/stat.h>
#include <sys/wait.h>

#include "augment/cifar.h"
#include "augment/image_folder.h"
#include "augment/open.h"
#include "tests/augment/helpers.h"

using namespace fovea;
using namespace helpers;

namespace {

std::string open_error(const std::string& folder, const ImageFolderOptions& options = {}) {
  return error_of([&] { ImageFolder(folder, options); });
}

}  // namespace

TEST_CASE("image folder: reads as in the design's example") {
  TempFolder folder;
  make_tree(folder.path(), {{"robin", 10}, {"wren", 20}});
  ImageFolder photos(folder.path(), {.image_size = 224});
  auto [train, val] = photos.split({.val = 0.2, .seed = 1});
  CHECK(photos.num_classes() == 2);
  CHECK(photos.image_size() == 224);
  CHECK(train->size() == 24);
  CHECK(class_counts(*val) == std::vector<std::int64_t>{2, 4});
  CHECK(train->image_size() == 224);
}

TEST_CASE("image folder: classes, nesting, any case, odd names, order") {
  TempFolder folder;
  const std::string long_name(255 - 4, 'x');
  const image::Image picture = noise_picture(6, 5, 3);
  for (const std::string& path :
       {std::string("b/one.PNG"), std::string("b/deep/er/two.pNg"), "b/" + long_name + ".png",
        std::string("b/naïve 日本\n\xff.png"), std::string("a/.hidden.png"), std::string("a/z.png"),
        std::string("a/notes.txt"), std::string("a/photo.webp"), std::string(".git/x/y.png"),
        std::string("__MACOSX/a/z.png"), std::string("Ärger 鳥/1.png")}) {
    put_png(folder / "tmp.bin", picture);
    write(folder / path, read(folder / "tmp.bin"));
  }
  fs::remove(folder / "tmp.bin");
  write(folder / "readme.txt", "text beside the classes");
  const ImageFolder data(folder.path());
  CHECK(data.class_names() == std::vector<std::string>{"a", "b", "Ärger 鳥"});
  CHECK(class_counts(data) == std::vector<std::int64_t>{1, 4, 1});
  for (std::int64_t i = 0; i < data.size(); ++i) CHECK(data.image(i) == picture);
  CHECK(data.name(1) == folder / "b/deep/er/two.pNg");
  REQUIRE(data.warnings().size() == 1);
  CHECK(contains(data.warnings()[0], "1 .webp"));

  // Fixed classes number a part as the whole was numbered; an unknown class is named.
  const ImageFolder fixed(folder.path(), {.class_names = {"Ärger 鳥", "none yet", "b", "a"}});
  CHECK(class_counts(fixed) == std::vector<std::int64_t>{1, 0, 4, 1});
  CHECK(fixed.label(0) == 0);
  CHECK(contains(open_error(folder.path(), {.class_names = {"a", "b"}}), "holds the class 'Ärger 鳥'"));
  CHECK(contains(open_error(folder.path(), {.class_names = {"a", "a"}}), "twice"));
}

TEST_CASE("image folder: what is wrong is said") {
  TempFolder folder;
  CHECK(contains(open_error(folder / "absent"), "file: [" + folder / "absent" + "] there is no such folder"));
  CHECK(contains(open_error(""), "name is empty"));
  CHECK(contains(open_error(folder.path()), "the folder is empty"));
  write(folder / "file", "x");
  CHECK(contains(open_error(folder / "file"), "this is a file, not a folder"));
  put_png(folder / "flat/1.png", noise_picture(2, 2, 3));
  put_png(folder / "flat/2.PNG", noise_picture(2, 2, 3));
  CHECK(contains(open_error(folder / "flat"), "holds 2 pictures but no class folders"));
  make_tree(folder / "parts/train", {{"a", 1}});
  make_tree(folder / "parts/val", {{"a", 1}});
  CHECK(contains(open_error(folder / "parts"), "holds the parts 'train', 'val', not classes"));
  make_tree(folder / "holes", {{"full", 2}, {"hollow", 0}, {"gifs", 0}});
  write(folder / "holes/gifs/1.GIF", "GIF89a");
  const std::string holes = open_error(folder / "holes");
  CHECK(contains(holes, "'gifs (only 1 .gif)', 'hollow' without pictures"));
  CHECK(ImageFolder(folder / "holes", {.allow_empty_classes = true}).num_classes() == 3);
  make_tree(folder / "bare", {{"a", 0}, {"b", 0}});
  CHECK(contains(open_error(folder / "bare"), "no pictures in any class folder"));
  CHECK(contains(open_error(folder / "holes", {.image_size = -1}), "image_size = -1"));
  CHECK(contains(open_error(std::string("a\0b", 3)), "NUL"));
  CHECK(contains(open_error(folder / std::string(5000, 'n')), "file: ["));
}

TEST_CASE("image folder: links are followed, circles are not") {
  TempFolder folder;
  make_tree(folder / "set", {{"a", 2}});
  fs::create_directory_symlink(folder / "set", folder / "set/a/up");
  fs::create_directory_symlink(folder / "set/a", folder / "set/b");
  fs::create_symlink(folder / "nowhere.png", folder / "set/a/dangling.png");
  fs::create_symlink("self.png", folder / "set/a/self.png");
  ImageFolder data(folder / "set");
  CHECK(class_counts(data) == std::vector<std::int64_t>{4, 4});
  for (std::int64_t i = 0; i < data.size(); ++i) {
    const bool broken = contains(data.name(i), "dangling") || contains(data.name(i), "self");
    const std::string error = error_of([&] { data.image(i); });
    CHECK((error == "none") == !broken);
    if (broken) CHECK(contains(error, "file: [" + data.name(i) + "] cannot be opened"));
  }
  // A pipe that is called a picture must not be waited for.
  REQUIRE(::mkfifo((folder / "set/a/pipe.jpg").c_str(), 0600) == 0);
  const ImageFolder again(folder / "set");
  bool refused = false;
  for (std::int64_t i = 0; i < again.size(); ++i) {
    if (contains(again.name(i), "pipe")) refused = contains(error_of([&] { again.image(i); }), "not a regular file");
  }
  CHECK(!refused == (again.size() == data.size()));  // left out, or refused
}

TEST_CASE("image folder: an unreadable folder and file") {
  TempFolder folder;
  make_tree(folder.path(), {{"a", 1}, {"b", 1}});
  fs::permissions(folder.path(), fs::perms(0755));
  fs::permissions(folder / "a/picture100.png", fs::perms::none);
  // Root may read everything, so an ordinary user tries, in a child of ours.
  const auto as_nobody = [&](auto action) {
    const pid_t child = ::fork();
    if (child == 0) {
      const bool dropped = ::getuid() != 0 || (::setgid(65534) == 0 && ::setuid(65534) == 0);
      const std::string error = dropped ? error_of(action) : "cannot drop rights";
      ::_exit(contains(error, "Permission denied") && contains(error, "file: [") ? 0 : 1);
    }
    int status = -1;
    REQUIRE(::waitpid(child, &status, 0) == child);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
  };
  CHECK(as_nobody([&] { ImageFolder(folder.path()).image(0); }));
  fs::permissions(folder / "b", fs::perms::none);
  CHECK(as_nobody([&] { ImageFolder data(folder.path()); }));
  fs::permissions(folder / "b", fs::perms(0755));
}

TEST_CASE("image folder: damaged pictures are named, sound ones stay readable") {
  TempFolder folder;
  make_tree(folder.path(), {{"a", 3}, {"b", 1}});
  const std::string sound = read(folder / "a/picture100.png");
  write(folder / "a/truncated.png", sound.substr(0, sound.size() / 2));
  write(folder / "a/zero.jpg", "");
  write(folder / "a/text.jpg", "this is only text");
  // A header of 100000×100000 pixels; the checksum is not looked at before the size.
  std::string giant = sound;
  for (const std::size_t at : {16, 20}) giant.replace(at, 4, big_endian(100000));
  write(folder / "a/giant.png", giant);
  const ImageFolder data(folder.path());
  CHECK(data.size() == 8);
  int damaged = 0;
  for (std::int64_t i = 0; i < data.size(); ++i) {
    const std::string error = error_of([&] { data.image(i); });
    if (contains(data.name(i), "picture")) {
      CHECK(error == "none");
    } else {
      ++damaged;
      INFO(error);
      CHECK(contains(error, "[" + data.name(i) + "] "));
    }
  }
  CHECK(damaged == 4);
}

TEST_CASE("image folder: groups by name, shrinking") {
  TempFolder folder;
  put_png(folder / "a/p1_x.png", noise_picture(40, 20, 3));
  put_png(folder / "a/p1_y.png", noise_picture(10, 10, 3));
  put_png(folder / "b/p2_x.png", noise_picture(4, 4, 1));
  const ImageFolder data(folder.path(), {.group_prefix = 2, .shrink_to = 10});
  CHECK(data.group(0) == "p1");
  CHECK(data.group(2) == "p2");
  CHECK((data.image(0).width == 20 && data.image(0).height == 10));
  CHECK(data.image(1).width == 10);
  CHECK(data.image(2).channels == 1);
}

TEST_CASE("cifar: both layouts") {
  TempFolder folder;
  std::string record;
  for (int i = 0; i < 3072; ++i) record += static_cast<char>(i % 251);
  for (int b = 1; b <= 5; ++b)
    write(folder / ("data_batch_" + std::to_string(b) + ".bin"), static_cast<char>(b) + record + '\x09' + record);
  const CifarDataset ten(folder.path());
  CHECK(ten.size() == 10);
  CHECK(ten.label(2) == 2);
  CHECK(ten.label(9) == 9);
  CHECK(ten.class_names()[2] == "bird");
  CHECK(ten.name(3) == "data_batch_2.bin#1");
  const image::Image picture = ten.image(0);
  CHECK(picture.at(0, 0, 0) == 0);
  CHECK(picture.at(0, 0, 1) == 1024 % 251);
  CHECK(picture.at(3, 2, 2) == (2048 + 67) % 251);
  fs::remove(folder / "data_batch_3.bin");
  CHECK(contains(error_of([&] { CifarDataset(folder.path()); }), "data_batch_3.bin is missing"));
  CHECK(contains(error_of([&] { CifarDataset(folder.path(), "test"); }), "no CIFAR binary files for test"));
  write(folder / "test_batch.bin", '\x0a' + record);
  CHECK(contains(error_of([&] { CifarDataset(folder.path(), "test"); }), "label 10 of record 0"));
  write(folder / "test_batch.bin", record);
  CHECK(contains(error_of([&] { CifarDataset(folder.path(), "test"); }), "no whole number of records"));

  write(folder / "sub/cifar-100-binary/test.bin", std::string("\x03\x63") + record);
  const CifarDataset hundred(folder / "sub", "test");
  CHECK(hundred.label(0) == 99);
  CHECK(hundred.num_classes() == 100);
  CHECK(hundred.class_names()[42] == "42");
  write(folder / "sub/cifar-100-binary/train.bin", std::string("\x03\x07") + record + "\x01\x08" + record);
  std::string names;
  for (int i = 0; i < 100; ++i) names += "name" + std::to_string(i) + "\r\n";
  write(folder / "sub/cifar-100-binary/fine_label_names.txt", names);
  const CifarDataset train(folder / "sub");
  CHECK(train.size() == 2);
  CHECK(train.label(1) == 8);
  CHECK(train.class_names()[99] == "name99");
  CHECK(train.image(1) == picture);
  write(folder / "sub/cifar-100-binary/fine_label_names.txt", names + "one more\n");
  CHECK(contains(error_of([&] { CifarDataset(folder / "sub"); }), "expected 100 class names, found 101"));
  write(folder / "sub/cifar-100-binary/train.bin", "");
  write(folder / "sub/cifar-100-binary/fine_label_names.txt", names);
  CHECK(contains(error_of([&] { CifarDataset(folder / "sub"); }), "0 bytes are no whole number"));
  write(folder / "sub/cifar-100-binary/train.bin", std::string("\x03\x64") + record);
  CHECK(contains(error_of([&] { CifarDataset(folder / "sub"); }), "label 100 of record 0"));
  CHECK(contains(error_of([&] { CifarDataset(folder / "sub", "all"); }), "no part \"all\""));
}

TEST_CASE("open_dataset recognises what lies there") {
  TempFolder folder;
  make_tree(folder / "plain", {{"a", 2}, {"b", 2}});
  CHECK(open_dataset(folder / "plain")->size() == 4);
  CHECK(available_splits(folder / "plain").empty());
  CHECK(contains(error_of([&] { open_dataset(folder / "plain", "val"); }), "has no part \"val\""));

  make_tree(folder / "parts/train", {{"a", 2}, {"b", 2}, {"c", 1}});
  make_tree(folder / "parts/valid", {{"b", 1}, {"c", 1}});
  CHECK(available_splits(folder / "parts") == std::vector<std::string>{"train", "val"});
  const DatasetPtr val = open_dataset(folder / "parts", "val");
  CHECK(val->num_classes() == 3);
  CHECK(val->label(0) == 1);
  CHECK(open_dataset(folder / "parts")->size() == 7);

  write(folder / "idx/train-images-idx3-ubyte", idx({4, 2, 2}));
  write(folder / "idx/train-labels-idx1-ubyte", idx({4}));
  write(folder / "idx/t10k-images-idx3-ubyte", idx({2, 2, 2}));
  write(folder / "idx/t10k-labels-idx1-ubyte", idx({2}));
  CHECK(available_splits(folder / "idx") == std::vector<std::string>{"train", "test"});
  CHECK(open_dataset(folder / "idx", "test")->size() == 2);
  CHECK(open_dataset(folder / "idx")->size() == 6);

  write(folder / "list.csv", "path,label\nplain/a/picture100.png,a\n");
  CHECK(open_dataset(folder / "list.csv")->size() == 1);
  CHECK(contains(error_of([&] { open_dataset(folder / "plain/a/picture100.png"); }), "not a data set"));
  CHECK(contains(error_of([&] { open_dataset(folder / "absent"); }), "there is no such folder"));
}

TEST_CASE("open_dataset: real photographs") {
  const auto path = shared_path("data/hymenoptera");
  if (!path || !fs::exists(*path)) FOVEA_SKIP("no hymenoptera pictures");
  const DatasetPtr train = open_dataset(*path, "train"), val = open_dataset(*path, "val");
  CHECK(train->class_names() == std::vector<std::string>{"ants", "bees"});
  CHECK(train->size() == 186);
  CHECK(val->size() == 59);
  for (std::int64_t i = 0; i < val->size(); i += 10) CHECK(std::min(val->image(i).width, val->image(i).height) > 100);
}
