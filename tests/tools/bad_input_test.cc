// What users get wrong: each ends with a message that names the thing, a code above 0, and nothing lost.
#include "tests/tools/program.h"

using namespace tool;

namespace {

/// A PNG chunk's checksum (CRC-32, bit by bit), as it stands in the file.
std::string crc(const std::string& bytes) {
  std::uint32_t rest = 0xffffffff;
  for (const char byte : bytes) {
    rest ^= static_cast<unsigned char>(byte);
    for (int i = 0; i < 8; ++i) rest = rest >> 1 ^ (rest & 1 ? 0xedb88320u : 0);
  }
  std::string out;
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(~rest >> shift);
  return out;
}

/// A run on three classes that the tests below may use.
struct Trained {
  Trained() {
    make_pictures(folder / "data", {"a", "b", "c"}, 6);
    const Outcome o = run(quick_train(folder / "data", folder / "run", {"-q"}));
    INFO(o.err);
    REQUIRE(o.code == 0);
  }
  TempFolder folder;
};

void check_fails(const Outcome& o, int code, const std::string& part) {
  INFO("code " << o.code << ", signal " << o.signal << ": " << o.err);
  CHECK(o.code == code);
  CHECK(o.err.starts_with("fovea"));
  CHECK(contains(o.err, part));
  CHECK(o.out.empty());
}

}  // namespace

TEST_CASE("bad input: folders") {
  const TempFolder folder;
  const auto train = [&](const std::string& data) { return run(quick_train(folder / data, folder / "run", {"-q"})); };
  check_fails(train("absent"), 1, "there is no such folder (give a folder with one folder of pictures per class");
  fs::create_directories(folder / "empty");
  check_fails(train("empty"), 1, "the folder is empty");
  make_pictures(folder / "one", {"only"}, 3);
  check_fails(train("one"), 2, "has 1 class; a classifier needs at least 2");
  fs::create_directories(folder / "hollow/a");
  fs::create_directories(folder / "hollow/b");
  check_fails(train("hollow"), 1, "no pictures in any class folder");
  write(folder / "file.jpg", "x");
  check_fails(train("file.jpg"), 2, "this is a file, not a data set");
  check_fails(train(std::string(300, 'n')), 1, "File name too long");
  const std::string long_name(300, 'n');
  check_fails(run({"predict", long_name, "picture.jpg"}), 1,
              "[" + long_name + "] cannot be opened: File name too long");
  check_fails(run({"report", long_name}), 1, "[" + long_name + "] cannot be opened: File name too long");
  CHECK_FALSE(fs::exists(folder / "run"));  // nothing was begun

  // A class with one picture can be learnt but not judged.
  make_pictures(folder / "lone", {"a", "b"}, 6);
  make_pictures(folder / "lone", {"lonely"}, 1);
  const Outcome o = train("lone");
  CHECK(o.code == 0);
  CHECK(contains(o.err, "warning: class 'lonely' has only one picture, which stays in train"));

  write(folder / "semicolon.csv", "path;label\nx;y\n");
  check_fails(train("semicolon.csv"), 1, "separate the columns by commas");
  write(folder / "gone.csv", "path,label\nnot/there.png,a\n");
  check_fails(train("gone.csv"), 1, "gone.csv:2] there is no file");
}

TEST_CASE("bad input: damaged pictures are named, and left out where asked") {
  const TempFolder folder;
  make_pictures(folder / "data", {"a", "b"}, 8);
  const std::string sound = read(folder / "data/a/picture0.png");
  std::string giant = sound;
  for (const std::size_t at : {16, 20}) giant.replace(at, 4, std::string("\x00\x01\x86\xa0", 4));  // 100000
  giant.replace(29, 4, crc(giant.substr(12, 17)));
  const std::string longest(251, 'x');
  struct Bad {
    std::string name, bytes, part;
  };
  const Bad bads[] = {
      {"truncated.png", sound.substr(0, sound.size() / 2), "truncated"},
      {"zero.png", "", "0 bytes"},
      {"giant.png", giant, "100000"},
      {"text.jpg", "not a picture", "this is a text file"},
      {"кошка 猫.png", sound.substr(0, 60), "it ends inside a chunk"},
      {longest + ".jpg", "x", ""},
  };
  const Outcome fine = run(quick_train(folder / "data", folder / "fine", {"-q"}));
  REQUIRE(fine.code == 0);
  for (const Bad& bad : bads) {
    const std::string path = folder / ("data/a/" + bad.name);
    write(path, bad.bytes);
    const Outcome o = run(quick_train(folder / "data", folder / "run", {"-q", "--val", "0"}));
    check_fails(o, 1, path + "] ");
    CHECK(contains(o.err, bad.part));
    CHECK_FALSE(fs::exists(folder / "run/model.fovea"));
    fs::remove_all(folder / "run");

    const Outcome p = run({"predict", folder / "fine", path, folder / "data/b/picture1.png", "--top", "1"});
    CHECK(p.code == 1);
    CHECK(contains(p.err, path));
    CHECK(contains(p.out, "data/b/picture1.png\n"));  // the others go on
    const Json line = Json::parse(run({"predict", folder / "fine", path, "--json"}).out);
    CHECK(line.at("file") == path);
    CHECK(contains(line.at("error"), bad.name));
    fs::remove(path);
  }
  for (const Bad& bad : bads) write(folder / ("data/a/" + bad.name), bad.bytes);
  // All at once, left out: listed, and the rest is learnt.
  const Outcome o = run(quick_train(folder / "data", folder / "run", {"--skip-corrupt"}));
  CHECK(o.code == 0);
  for (const Bad& bad : bads) CHECK(contains(o.err, "left out " + folder / ("data/a/" + bad.name)));
  const Outcome e = run({"evaluate", folder / "run", folder / "data", "--json"});
  check_fails(e, 1, folder / "data/a/");
  const Outcome skipping = run({"evaluate", folder / "run", folder / "data", "--json", "--skip-corrupt"});
  CHECK(skipping.json().at("n") == 16);
  // Sound pictures with such names are ordinary pictures.
  write(folder / ("data/a/" + longest + ".jpg"), sound);
  write(folder / "data/a/кошка 猫.png", sound);
  CHECK(
      run({"predict", folder / "fine", folder / ("data/a/" + longest + ".jpg"), folder / "data/a/кошка 猫.png"}).code ==
      0);
  CHECK(run({"augment-preview", folder / "data", "-o", folder / "g.png", "--rows", "16"}).code == 0);
}

TEST_CASE("bad input: rights") {
  const TempFolder folder;
  make_pictures(folder / "data", {"a", "b"}, 4);
  const std::string locked = folder / "data/a/picture1.png";
  fs::permissions(locked, fs::perms::none);
  fs::create_directories(folder / "open");
  fs::permissions(folder / "open", fs::perms::all);
  const Words words = quick_train(folder / "data", folder / "open/run", {"-q", "--val", "0"});
  if (run({"version"}, {.as_nobody = true}).code != 0) FOVEA_SKIP("the program lies where others may not run it");
  check_fails(run(words, {.as_nobody = true}), 1, locked + "] cannot be opened: Permission denied");
  fs::permissions(locked, fs::perms(0644));
  check_fails(run(quick_train(folder / "data", folder / "run", {"-q"}), {.as_nobody = true}), 1, "Permission denied");
  fs::permissions(folder / "data/b", fs::perms::none);
  check_fails(run(words, {.as_nobody = true}), 1, folder / "data/b");
  fs::permissions(folder / "data/b", fs::perms(0755));
  // Root as everybody: a folder where a picture should be, a file where a folder should be.
  fs::create_directories(folder / "data/a/folder.png");
  CHECK(run(quick_train(folder / "data", folder / "run", {"-q"})).code == 0);
  check_fails(run({"predict", folder / "run", folder / "data/a/folder.png"}), 1, "it is a folder");
  check_fails(run(quick_train(folder / "data", folder / "data/a/picture0.png/run", {"-q"})), 1, "picture0.png");
  check_fails(run({"augment-preview", folder / "data", "-o", folder / "no/such/g.png"}), 1, "no/such/g.png");
}

TEST_CASE("bad input: a full disk takes nothing that was there") {
  Trained t;
  const std::string model = read(t.folder / "run/model.fovea");
  // Writes beyond 100 kB fail: the model does not fit, pictures and metrics do.
  REQUIRE(model.size() > 200'000);
  const Words words =
      quick_train(t.folder / "data", t.folder / "run", {"--epochs", "2", "--overwrite", "--json", "-q"});
  const Outcome o = run(words, {.file_limit = 100'000});
  check_fails(o, 1, "model.fovea] cannot be written: File too large");
  CHECK(contains(o.err, "warning: checkpoint not written, training goes on"));
  CHECK(read(t.folder / "run/model.fovea") == model);
  for (const auto& entry : fs::directory_iterator(t.folder / "run"))
    CHECK_FALSE(entry.path().filename().string().starts_with(".fovea-"));  // no half files are left

  // Killed while it writes: the files of before are still whole.
  const std::string run_folder = t.folder / "run2";
  REQUIRE(run(quick_train(t.folder / "data", run_folder, {"-q"})).code == 0);
  CHECK(read(run_folder + "/model.fovea") == model);
  const Outcome killed = run(quick_train(t.folder / "data", run_folder, {"--seed", "2", "--overwrite"}),
                             {.file_limit = 100'000, .limit_kills = true});
  CHECK(killed.signal == SIGXFSZ);
  CHECK(read(run_folder + "/model.fovea") == model);
  CHECK(run({"evaluate", run_folder, t.folder / "data", "--json"}).code == 0);

  if (!fs::exists("/dev/full")) return;
  const Outcome full = run({"augment-preview", t.folder / "data", "-o", "/dev/full"});
  CHECK(full.code != 0);
  const Outcome json = run({"evaluate", run_folder, t.folder / "data", "--json"}, {.out_path = "/dev/full"});
  CHECK(json.code == 1);
  CHECK(contains(json.err, "standard output cannot be written"));
}

TEST_CASE("bad input: other classes than were learnt") {
  Trained t;
  make_pictures(t.folder / "others", {"a", "b", "dog", "egg"}, 2);
  check_fails(run({"evaluate", t.folder / "run", t.folder / "others", "--json"}), 2,
              "holds the classes 'dog', 'egg', which are not among the 3 known ones: 'a', 'b', 'c'");
  write(t.folder / "m.csv", "path,label\nothers/dog/picture0.png,dog\n");
  check_fails(run({"evaluate", t.folder / "run", t.folder / "m.csv"}), 2,
              "label 'dog' is not among the 3 known classes");
  // Some of the classes are enough to be judged by.
  make_pictures(t.folder / "some", {"c"}, 2);
  CHECK(run({"evaluate", t.folder / "run", t.folder / "some", "--json"}).json().at("confusion")[2].size() == 3);

  // Resuming on other data or with other settings would mix two trainings.
  const auto resume = [&](const std::string& data, const Words& more) {
    Words words = {"--resume", "-q"};
    words.insert(words.end(), more.begin(), more.end());
    return run(quick_train(t.folder / data, t.folder / "run", words));
  };
  const std::string model = read(t.folder / "run/model.fovea");
  make_pictures(t.folder / "renamed", {"a", "b", "x"}, 6);
  check_fails(resume("renamed", {}), 2, "another set of classes: 'a, b, c', now 'a, b, x'");
  make_pictures(t.folder / "more", {"a", "b", "c", "d"}, 6);
  CHECK(resume("more", {}).code == 2);
  check_fails(resume("data", {"--seed", "9"}), 2, "was made with another seed: '1', now '9'");
  check_fails(resume("data", {"--image-size", "12"}), 2, "another input: ");
  CHECK(read(t.folder / "run/model.fovea") == model);
  CHECK(resume("data", {}).code == 0);  // finished already: nothing to do, the model is written again
  CHECK(read(t.folder / "run/model.fovea") == model);
}

TEST_CASE("bad input: model files that are none") {
  Trained t;
  const std::string model = read(t.folder / "run/model.fovea");
  const std::string picture = t.folder / "data/a/picture0.png", bad = t.folder / "bad.fovea";
  check_fails(run({"predict", t.folder / "none.fovea", picture}), 1, "cannot be opened: No such file");
  check_fails(run({"predict", t.folder / "data", picture}), 1, "this folder holds no model.fovea");
  check_fails(run({"predict", picture, picture}), 1, "is no weight file: it is a picture");
  check_fails(run({"predict", t.folder / "run/checkpoint.safetensors", picture}), 1, "checkpoint.safetensors]");
  std::uint64_t header = 0;
  for (int i = 7; i >= 0; --i) header = header << 8 | static_cast<unsigned char>(model[static_cast<std::size_t>(i)]);
  REQUIRE(header < model.size());
  const auto truncated = [&](std::size_t length) {
    write(bad, model.substr(0, length));
    check_fails(run({"summary", bad}), 1, bad + "] ");
  };
  for (std::size_t length = 0; length <= 9; ++length) truncated(length);
  for (std::size_t k = 1; k < 10; ++k) truncated(8 + header * k / 10);
  for (const std::size_t length : {8 + header - 1, 8 + header, 8 + header + 1, model.size() - 1}) truncated(length);
  // Bytes changed in the header: an error or, where the change does not matter, an answer; never a crash.
  for (std::size_t k = 0; k < 24; ++k) {
    std::string changed = model;
    const std::size_t at = k < 8 ? k : 8 + (header - 1) * (k - 8) / 16;
    changed[at] = static_cast<char>(changed[at] ^ 0x15);
    write(bad, changed);
    const Outcome o = run({"predict", bad, picture});
    INFO("byte " << at << ": code " << o.code << ", signal " << o.signal << ", " << o.err);
    CHECK((o.code == 0 || o.code == 1 || o.code == 2));
  }
}
