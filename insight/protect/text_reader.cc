// Tesseract behind its C interface. It is loaded when the first line is read, because it and the 40 libraries it brings
// along cost 30 ms at every start of a program that is linked to it.
#include "core/error.h"
#include "core/io/shared_library.h"
#include "insight/protect/text.h"
#include "insight/protect/text_internal.h"

#ifdef FOVEA_TESSERACT
#include <tesseract/capi.h>

namespace fovea::insight {
namespace {

struct Library {
  decltype(&TessBaseAPICreate) create = nullptr;
  decltype(&TessBaseAPIDelete) destroy = nullptr;
  decltype(&TessBaseAPIInit3) init = nullptr;
  decltype(&TessBaseAPISetPageSegMode) set_mode = nullptr;
  decltype(&TessBaseAPISetVariable) set_variable = nullptr;
  decltype(&TessBaseAPISetImage) set_image = nullptr;
  decltype(&TessBaseAPISetSourceResolution) set_resolution = nullptr;
  decltype(&TessBaseAPIGetUTF8Text) get_text = nullptr;
  decltype(&TessBaseAPIMeanTextConf) confidence = nullptr;
  decltype(&TessBaseAPIClear) clear = nullptr;
  decltype(&TessDeleteText) delete_text = nullptr;
  bool good = false;
};

Library load() {
  Library l;
  SharedLibrary library({FOVEA_TESSERACT});
  library.find("TessBaseAPICreate", l.create);
  library.find("TessBaseAPIDelete", l.destroy);
  library.find("TessBaseAPIInit3", l.init);
  library.find("TessBaseAPISetPageSegMode", l.set_mode);
  library.find("TessBaseAPISetVariable", l.set_variable);
  library.find("TessBaseAPISetImage", l.set_image);
  library.find("TessBaseAPISetSourceResolution", l.set_resolution);
  library.find("TessBaseAPIGetUTF8Text", l.get_text);
  library.find("TessBaseAPIMeanTextConf", l.confidence);
  library.find("TessBaseAPIClear", l.clear);
  library.find("TessDeleteText", l.delete_text);
  if (!library.problem().empty()) return l;
  TessBaseAPI* api = l.create();
  l.good = l.init(api, nullptr, "eng") == 0;
  l.destroy(api);
  return l;
}

const Library& library() {
  static const Library l = load();
  return l;
}

}  // namespace

bool text_recognition_available() { return library().good; }

LineReader::LineReader() {
  const Library& l = library();
  if (!l.good)
    throw Error(ErrorKind::usage, "find_text", "Tesseract or its English data is not installed",
                "install libtesseract-dev and tesseract-ocr-eng, or go without recognition");
  TessBaseAPI* api = l.create();
  api_ = api;
  if (l.init(api, nullptr, "eng") != 0) {
    l.destroy(api);
    throw Error(ErrorKind::file, "find_text", "Tesseract cannot read its English data", "install tesseract-ocr-eng");
  }
  l.set_variable(api, "debug_file", "/dev/null");
  l.set_mode(api, tesseract::PSM_SINGLE_LINE);
}

// `good` says that all functions were found: no reader exists otherwise.
// NOLINTBEGIN(clang-analyzer-core.CallAndMessage)
LineReader::~LineReader() { library().destroy(static_cast<TessBaseAPI*>(api_)); }

Reading LineReader::read(const image::Image& line) {
  const Library& l = library();
  auto* api = static_cast<TessBaseAPI*>(api_);
  l.set_image(api, line.pixels.data(), line.width, line.height, 1, line.width);
  l.set_resolution(api, 150);
  Reading out;
  if (char* text = l.get_text(api)) {
    out.text = text;
    l.delete_text(text);
    while (!out.text.empty() && (out.text.back() == '\n' || out.text.back() == ' ')) out.text.pop_back();
    out.confidence = l.confidence(api) / 100.0;
  }
  l.clear(api);
  return out;
}
// NOLINTEND(clang-analyzer-core.CallAndMessage)

}  // namespace fovea::insight

#else

namespace fovea::insight {
bool text_recognition_available() { return false; }
LineReader::LineReader() {
  throw Error(ErrorKind::usage, "find_text", "this build of fovea cannot read text",
              "build with libtesseract-dev installed, or go without recognition");
}
LineReader::~LineReader() = default;
Reading LineReader::read(const image::Image&) { return {}; }
}  // namespace fovea::insight

#endif
