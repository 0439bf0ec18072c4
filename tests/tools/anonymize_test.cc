// fovea anonymize: files, keys, exit codes, and a program that is killed half-way.
#include <sys/stat.h>

#include <csignal>

#include "image/decode.h"
#include "tests/tools/program.h"

using namespace tool;

TEST_CASE("anonymize: a folder becomes one that says nothing of its origin") {
  const TempFolder folder;
  make_pictures(folder / "data", {"ant", "bee"}, 3);
  write(folder / "data/ant/broken.jpg", "no picture");
  const Words before = files_below(folder / "data");
  const Words words{"anonymize", folder / "data", "--out", folder / "clean", "--key", folder / "my.key"};
  const Outcome out = run(words);
  INFO(out.out << out.err);
  CHECK(out.code == 1);
  CHECK(contains(out.err, "broken.jpg"));
  CHECK(contains(out.err, "made a new key: " + (folder / "my.key")));
  CHECK(contains(out.out, "6 pictures anonymised"));
  CHECK(contains(out.out, "failed, and not written: 1"));
  const Words files = files_below(folder / "clean");
  CHECK(files.size() == 7);
  for (const std::string& name : files) CHECK_FALSE(contains(name, "picture"));
  CHECK_FALSE(contains(read(folder / "clean/manifest.csv"), "picture"));
  CHECK(files_below(folder / "data") == before);
  struct stat info {};
  REQUIRE(::stat((folder / "my.key").c_str(), &info) == 0);
  CHECK((info.st_mode & 0777) == 0600);

  CHECK(run(words).code == 2);  // not empty
  Words again = words;
  for (const char* word : {"--overwrite", "--json", "--boxes"}) again.emplace_back(word);
  write(folder / "boxes.csv", "path,x,y,w,h\nant/picture1.png,2,2,4,4\n");
  again.push_back(folder / "boxes.csv");
  fs::remove(folder / "data/ant/broken.jpg");
  const Outcome json = run(again);
  INFO(json.err);
  REQUIRE(json.code == 0);
  CHECK(json.json()["pictures"] == 6);
  CHECK(json.json()["concealed"] == 1);
  CHECK(files_below(folder / "clean") == files);  // the same key gives the same names
  // What is learnt from goes on being readable by the other commands.
  CHECK(run(quick_train(folder / "clean", folder / "run")).code == 0);

  CHECK(run({"anonymize", folder / "data", "--out", folder / "o", "--key", folder / "o/key"}).code == 2);
  CHECK_FALSE(fs::exists(folder / "o"));
  CHECK(run({"anonymize", folder / "data", "--out", folder / "data/o", "--key", folder / "my.key"}).code == 2);
  CHECK(run({"anonymize", folder / "nothing", "--out", folder / "o", "--key", folder / "my.key"}).code == 1);
  write(folder / "boxes.csv", "path,x,y,w,h\nwasp.png,2,2,4,4\n");
  CHECK(run({"anonymize", folder / "data", "--out", folder / "o", "--key", folder / "my.key", "--boxes",
             folder / "boxes.csv"})
            .code == 2);
}

TEST_CASE("anonymize: killed half-way it leaves whole files only, and no manifest") {
  const TempFolder folder;
  make_pictures(folder / "data", {"ant", "bee"}, 150, 64);
  const auto pictures = [&] {
    int count = 0;
    std::error_code ignored;
    for (fs::recursive_directory_iterator at(folder / "clean", ignored), end; !ignored && at != end;
         at.increment(ignored))
      count += at->path().extension() == ".png";
    return count;
  };
  Setup setup;
  setup.watch = [&] { return pictures() >= 20 ? SIGKILL : 0; };
  const Words words{"anonymize", folder / "data", "--out", folder / "clean", "--key", folder / "my.key"};
  const Outcome killed = run(words, setup);
  REQUIRE(killed.signal == SIGKILL);
  CHECK_FALSE(fs::exists(folder / "clean/manifest.csv"));
  const int left = pictures();
  CHECK(left >= 20);
  CHECK(left < 300);
  for (const auto& entry : fs::recursive_directory_iterator(folder / "clean")) {
    if (entry.path().extension() == ".png") CHECK_NOTHROW(fovea::image::read_image(entry.path().string()));
  }
  Words again = words;
  again.emplace_back("--overwrite");
  const Outcome whole = run(again);
  CHECK(whole.code == 0);
  CHECK(whole.err.find("warning") == std::string::npos);
  CHECK(pictures() == 300);
  for (const auto& entry : fs::recursive_directory_iterator(folder / "clean"))
    CHECK(entry.path().extension() != ".tmp");
  // A full disk fails file by file, and leaves nothing half-written.
  Setup full;
  full.file_limit = 4096;
  const Outcome none = run({"anonymize", folder / "data", "--out", folder / "full", "--key", folder / "my.key"}, full);
  CHECK(none.code == 1);
  CHECK(files_below(folder / "full") == Words{"manifest.csv"});
}
