// CSV manifests.
#include "augment/csv_dataset.h"

#include "tests/augment/helpers.h"

using namespace fovea;
using namespace helpers;

namespace {

using Fields = std::vector<std::string>;

std::string csv_error(const std::string& text) {
  return error_of([&] { parse_csv(text, "m.csv"); });
}

}  // namespace

TEST_CASE("csv: RFC 4180") {
  const auto records =
      parse_csv("\xEF\xBB\xBFpath,label\r\na.png,\"x, y\"\n\n\"say \"\"hi\"\"\",\"two\nlines\"\r\n,\nlast,\"\"");
  REQUIRE(records.size() == 5);
  CHECK(records[0].fields == Fields{"path", "label"});
  CHECK(records[1].fields == Fields{"a.png", "x, y"});
  CHECK(records[2].fields == Fields{"say \"hi\"", "two\nlines"});
  CHECK(records[2].line == 4);
  CHECK(records[3].fields == Fields{"", ""});
  CHECK(records[3].line == 6);
  CHECK(records[4].fields == Fields{"last", ""});
  CHECK(parse_csv("").empty());
  CHECK(parse_csv("\r\n\n").empty());
  CHECK(parse_csv("a\rb,c").at(0).fields == Fields{"a\rb", "c"});

  CHECK(contains(csv_error("a,b\n\"open,c\n"), "m.csv:2] a quote is opened here and never closed"));
  CHECK(contains(csv_error("a,b\n\"x\"y,c\n"), "m.csv:2] text after a closing quote"));
  CHECK(contains(csv_error("a,b\nx\"y,c\n"), "m.csv:2] a quote inside a field"));
  CHECK(contains(csv_error(std::string("a,b\nx\0y,c\n", 10)), "m.csv:2] a NUL byte"));
}

TEST_CASE("csv: datasets") {
  TempFolder folder;
  for (const char* name : {"sub/1.png", "sub/2, or more.png", "ü.png"}) put_png(folder / name, noise_picture(3, 3, 1));
  const auto open = [&](const std::string& text, const CsvOptions& options = {}) {
    write(folder / "list.csv", text);
    return CsvDataset(folder / "list.csv", options);
  };
  const auto fails = [&](const std::string& text, const CsvOptions& options = {}) {
    return error_of([&] { open(text, options); });
  };

  const CsvDataset data = open(
      "Label, path ,group,split,other\n10,sub/1.png,p1,train,\n9,\"sub/2, or more.png\",p2,val,\n9,ü.png,,train,\n");
  CHECK(data.class_names() == Fields{"9", "10"});
  CHECK(data.label(0) == 1);
  CHECK(data.group(1) == "p2");
  CHECK(data.group(2).empty());
  CHECK(data.parts() == Fields{"train", "val"});
  CHECK(data.name(0) == folder / "sub/1.png");
  for (std::int64_t i = 0; i < 3; ++i) CHECK(data.image(i).width == 3);
  const CsvDataset train = open(read(folder / "list.csv"), {.split = "train"});
  CHECK(train.size() == 2);
  CHECK(train.num_classes() == 2);
  CHECK(open("path,label\n" + folder / "ü.png" + ",x\n").image(0).height == 3);

  CHECK(contains(fails(""), "the file is empty"));
  CHECK(contains(fails("path,label\n"), "no rows"));
  CHECK(contains(fails("file,label\nx,y\n"), "list.csv:1] the header has no column path; it has 'file', 'label'"));
  CHECK(contains(fails("path;label\nx;y\n"), "it has 'path;label' (separate the columns by commas)"));
  CHECK(contains(fails("path\tlabel\nx\ty\n"), "separate the columns by commas"));
  CHECK(contains(fails("path,label,label\nx,y,z\n"), "two columns are called label"));
  CHECK(contains(fails("path,label\nsub/1.png,a\nsub/1.png\n"), "list.csv:3] has 1 fields, the header has 2"));
  CHECK(contains(fails("path,label\n,a\n"), "list.csv:2] the path is empty"));
  CHECK(contains(fails("path,label\nsub/1.png,\n"), "list.csv:2] the label is empty"));
  CHECK(contains(fails("path,label\n\n\nsub/3.png,a\n"), "list.csv:4] there is no file"));
  CHECK(contains(fails("path,label\nsub,a\n"), "is a folder"));
  CHECK(contains(fails("path,label\nsub/1.png,a\n", {.class_names = {"b"}}),
                 "label 'a' is not among the 1 known classes"));
  CHECK(contains(fails("path,label\nsub/1.png,a\n", {.split = "val"}), "no column split"));
  CHECK(contains(fails("path,label,split\nsub/1.png,a,train\n", {.split = "val"}), "no row whose split is \"val\""));
  CHECK(contains(error_of([&] { CsvDataset(folder / "none.csv"); }), "file: ["));
  CHECK(contains(error_of([&] { CsvDataset(folder.path()); }), "this is a folder"));
}

TEST_CASE("csv: paths lead where the manifest says, and only pictures come of it") {
  TempFolder folder;
  put_png(folder / "beside.png", noise_picture(5, 4, 3));
  write(folder / "secret.txt", "password: swordfish");
  fs::create_directories(folder / "lists");
  const auto open = [&](const std::string& path) {
    write(folder / "lists/m.csv", "path,label\n" + path + ",a\n");
    return CsvDataset(folder / "lists/m.csv");
  };
  // A folder beside the manifest's is ordinary use.
  CHECK(open("../beside.png").image(0).width == 5);
  CHECK(open("../lists/../beside.png").image(0).height == 4);
  // Whatever else a path leads to is refused, and nothing of its content is shown.
  for (const char* path : {"../secret.txt", "/etc/passwd", "/dev/zero", "../../../../../../../../etc/hostname"}) {
    const std::string error = error_of([&] { open(path).image(0); });
    INFO(error);
    CHECK((contains(error, "format: [") || contains(error, "file: [")));
    CHECK_FALSE(contains(error, "swordfish"));
    CHECK_FALSE(contains(error, "root:"));
  }
  CHECK(contains(error_of([&] { open("../.."); }), "is a folder"));
  CHECK(contains(error_of([&] {
                   open("/proc/self/mem");
                   open("/proc/self/mem").image(0);
                 }),
                 "["));
  CHECK(contains(error_of([&] { open(std::string(300, 'n') + ".png"); }), "there is no file"));
  // Windows' line ends and byte order mark, quotes around everything, no line end at the end.
  write(folder / "lists/m.csv", "\xEF\xBB\xBF\"path\",\"label\"\r\n\"../beside.png\",\"say \"\"a, b\"\"\"");
  CHECK(CsvDataset(folder / "lists/m.csv").class_names() == Fields{"say \"a, b\""});
}
