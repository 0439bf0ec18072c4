// De-identification of DICOM files on DCMTK's data sets.
#include "insight/protect/dicom.h"

#include "core/error.h"

#ifndef FOVEA_DCMTK

namespace fovea::insight {
bool dicom_available() { return false; }
DeidentifiedDicom deidentify_dicom(std::span<const std::uint8_t>, const PseudonymKey&, const DicomOptions&,
                                   const std::string& name) {
  throw Error(ErrorKind::usage, name, "this build of fovea does not read DICOM",
              "build it with libdcmtk-dev installed");
}
}  // namespace fovea::insight

#else

#include <algorithm>
#include <map>
#include <set>

#include "core/version.h"
#include "image/dicom_internal.h"
#include "insight/protect/hidden.h"

// after the above, which configures it
#include <dcmtk/dcmdata/dcostrmb.h>

namespace fovea::insight {
namespace {

namespace dicom = image::dicom;

void require(const OFCondition& condition, const std::string& name, const char* what) {
  if (condition.bad()) throw Error(ErrorKind::format, name, str(what, ": ", condition.text()));
}

std::string text_of(DcmItem& item, const DcmTagKey& tag) {
  OFString value;
  if (item.findAndGetOFStringArray(tag, value).bad()) return {};
  std::string out = value.c_str();
  while (!out.empty() && (out.back() == ' ' || out.back() == '\0')) out.pop_back();
  return out;
}

enum class Action { keep, remove, empty, dummy, uid };

const std::map<std::uint32_t, Action>& actions() {
  static const std::map<std::uint32_t, Action> table = [] {
    std::map<std::uint32_t, Action> out;
    for (const DicomProfileRow& row : dicom_profile()) {
      if (row.tag.find_first_not_of("0123456789abcdef") != std::string::npos) continue;  // patterns: see action_of()
      const Action action = row.basic == "X"                            ? Action::remove
                            : row.basic == "Z" || row.basic == "X/Z"    ? Action::empty
                            : row.basic == "U" || row.basic == "X/Z/U*" ? Action::uid
                                                                        : Action::dummy;
      out[static_cast<std::uint32_t>(std::stoul(row.tag, nullptr, 16))] = action;
    }
    return out;
  }();
  return table;
}

Action action_of(const DcmTag& tag, DcmEVR vr) {
  const unsigned group = tag.getGTag(), element = tag.getETag();
  if (group % 2 == 1 || element == 0) return Action::remove;  // private; lengths of groups, which no longer hold
  if ((group & 0xff00) == 0x5000 || (group & 0xff00) == 0x6000) return Action::remove;  // curves, overlays
  const auto found = actions().find(group << 16 | element);
  if (found != actions().end()) return found->second;
  // What the standard does not know, and what came without a representation, may hold anything.
  const DcmEVR known = DcmTag(group, element).getEVR();
  if (known == EVR_UN || known == EVR_UNKNOWN || vr == EVR_UN || vr == EVR_UNKNOWN) return Action::remove;
  return Action::keep;
}

bool is_text(DcmEVR vr) {
  switch (vr) {
    case EVR_AE:
    case EVR_AS:
    case EVR_DA:
    case EVR_DT:
    case EVR_LO:
    case EVR_LT:
    case EVR_PN:
    case EVR_SH:
    case EVR_ST:
    case EVR_TM:
    case EVR_UC:
    case EVR_UR:
    case EVR_UT: return true;
    default: return false;
  }
}

/// A value of its kind that says nothing. False where there is none.
bool set_dummy(DcmElement& e) {
  static const Uint8 zeros[8] = {};
  switch (e.ident()) {
    case EVR_DA: return e.putString("19000101").good();
    case EVR_TM: return e.putString("000000").good();
    case EVR_DT: return e.putString("19000101000000").good();
    case EVR_AS: return e.putString("000Y").good();
    case EVR_IS:
    case EVR_DS: return e.putString("0").good();
    case EVR_UR: return e.putString("urn:removed").good();
    case EVR_FL: return e.putFloat32(0, 0).good();
    case EVR_FD: return e.putFloat64(0, 0).good();
    case EVR_SS: return e.putSint16(0, 0).good();
    case EVR_US: return e.putUint16(0, 0).good();
    case EVR_SL: return e.putSint32(0, 0).good();
    case EVR_UL: return e.putUint32(0, 0).good();
    case EVR_OB: return e.putUint8Array(zeros, 2).good();
    default: return e.putString("REMOVED").good();
  }
}

class Cleaner {
 public:
  Cleaner(const PseudonymKey& key, const std::string& name) : key_(key), name_(name) {}

  /// `scrub`: nothing of the texts below may stay, codes included where `codes`.
  void clean(DcmItem& item, bool scrub = false, bool codes = false, int depth = 0) {
    if (depth > 64) throw Error(ErrorKind::format, name_, "sequences nested deeper than 64");
    for (unsigned long i = 0; i < item.card();) {
      DcmElement* e = item.getElement(i);
      const DcmTag tag = e->getTag();
      const bool sequence = e->ident() == EVR_SQ;
      Action action = action_of(tag, e->ident());
      const bool is_code = tag.getGTag() == 0x0008 && (tag.getETag() & 0xff00) == 0x0100;
      if (scrub && action == Action::keep && is_text(e->ident()) && (codes || !is_code)) action = Action::dummy;
      if (action == Action::keep && e->ident() == EVR_UI && scrub) action = Action::uid;
      if (action == Action::empty && sequence) action = Action::remove;
      if (action == Action::remove) {
        note(tag);
        delete item.remove(i);
        continue;
      }
      if (sequence) {
        const bool dummy = action == Action::dummy;
        const bool content = tag == DCM_ContentSequence || tag == DCM_GraphicAnnotationSequence;
        auto& items = static_cast<DcmSequenceOfItems&>(*e);
        for (unsigned long k = 0; k < items.card(); ++k)
          clean(*items.getItem(k), scrub || dummy, codes || (dummy && !content), depth + 1);
      } else if (action == Action::empty) {
        if (e->getLength() > 0) removed_.insert("attributes");
        require(e->clear(), name_, "an attribute cannot be emptied");
      } else if (action == Action::dummy || (action == Action::uid && e->ident() != EVR_UI)) {
        removed_.insert("attributes");
        if (!set_dummy(*e)) {
          delete item.remove(i);
          continue;
        }
      } else if (action == Action::uid) {
        replace_uids(*e);
      }
      ++i;
    }
  }

  void add_kind(const std::string& kind) { removed_.insert(kind); }
  std::vector<std::string> kinds() const { return {removed_.begin(), removed_.end()}; }

 private:
  void note(const DcmTag& tag) {
    if (tag.getETag() == 0) return;
    const unsigned group = tag.getGTag();
    const bool known = actions().contains(group << 16 | tag.getETag());
    removed_.insert(group % 2 == 1               ? "private attributes"
                    : (group & 0xff00) == 0x6000 ? "overlays"
                    : (group & 0xff00) == 0x5000 ? "curves"
                    : !known                     ? "unknown attributes"
                                                 : "attributes");
  }

  void replace_uids(DcmElement& e) {
    OFString all;
    require(e.getOFStringArray(all), name_, "a UID cannot be read");
    std::string out;
    std::string text = all.c_str();
    for (std::size_t at = 0; at <= text.size();) {
      const std::size_t end = std::min(text.find('\\', at), text.size());
      std::string uid = text.substr(at, end - at);
      while (!uid.empty() && (uid.back() == ' ' || uid.back() == '\0')) uid.pop_back();
      // DICOM's own UIDs name classes and rules, not things.
      if (!uid.empty() && !uid.starts_with("1.2.840.10008.")) {
        uid = key_.uid(uid);
        removed_.insert("UIDs");
      }
      out += (at ? "\\" : "") + uid;
      at = end + 1;
    }
    require(e.putString(out.c_str()), name_, "a UID cannot be replaced");
  }

  const PseudonymKey& key_;
  const std::string& name_;
  std::set<std::string> removed_;
};

void put(DcmItem& item, const DcmTagKey& tag, const std::string& value, const std::string& name) {
  require(item.putAndInsertString(tag, value.c_str()), name, "an attribute cannot be written");
}

void put_code(DcmItem& data, unsigned long number, const char* value, const char* meaning, const std::string& name) {
  DcmItem* item = nullptr;
  require(data.findOrCreateSequenceItem(DCM_DeidentificationMethodCodeSequence, item, static_cast<long>(number)), name,
          "the method's code cannot be written");
  put(*item, DCM_CodeValue, value, name);
  put(*item, DCM_CodingSchemeDesignator, "DCM", name);
  put(*item, DCM_CodeMeaning, meaning, name);
}

/// Masks boxes in all frames, and stores them uncompressed. The number of lines of text found.
std::int64_t clean_pixels(DcmFileFormat& file, const DicomOptions& o, const std::string& name, bool& changed) {
  const dicom::PixelFormat f = dicom::pixel_format(file, name);
  image::DecodeOptions decoding;
  image::codec::check_size(static_cast<std::uint64_t>(f.columns), static_cast<std::uint64_t>(f.rows), decoding, name);
  std::vector<ConcealedBox> boxes = o.boxes;
  std::int64_t lines = 0;
  if (o.mask_text) {
    for (const std::int64_t frame : std::set<std::int64_t>{0, f.frames / 2, f.frames - 1}) {
      image::codec::Raw raw = dicom::render(file, f, frame, decoding, name);
      const std::vector<TextLine> found =
          find_text(image::Image(raw.width, raw.height, raw.channels, std::move(raw.pixels)));
      lines = std::max(lines, static_cast<std::int64_t>(found.size()));
      const std::vector<ConcealedBox> more = boxes_of(found);
      boxes.insert(boxes.end(), more.begin(), more.end());
    }
  }
  if (boxes.empty()) return 0;
  changed = true;
  // Where the boxes are, as a picture: the rules for fractions and edges are conceal()'s.
  image::Image marks(f.columns, f.rows, 1, 255);
  for (ConcealedBox& box : boxes) box.how = Concealment::mask;
  conceal(marks, boxes);
  if (f.photometric == "YBR_FULL_422" && !f.jpeg)
    throw Error(ErrorKind::format, name, "pixels with shared colours (YBR_FULL_422) cannot be masked");
  const std::size_t step = static_cast<std::size_t>(f.samples) * static_cast<std::size_t>(f.allocated / 8);
  std::vector<std::uint8_t> all;
  for (std::int64_t frame = 0; frame < f.frames; ++frame) {
    std::vector<std::uint8_t> pixels = dicom::stored_frame(file, f, frame, decoding, name);
    for (std::size_t i = 0; i < marks.pixels.size(); ++i) {
      if (marks.pixels[i] == 0)
        std::fill_n(pixels.begin() + static_cast<std::ptrdiff_t>(i * step), step, std::uint8_t{0});
    }
    all.insert(all.end(), pixels.begin(), pixels.end());
  }
  DcmItem& data = *file.getDataset();
  const bool odd = all.size() % 2 == 1;
  if (odd) all.push_back(0);
  delete data.remove(DCM_PixelData);
  auto pixels = std::make_unique<DcmPixelData>(DCM_PixelData);
  if (f.allocated == 16) {
    pixels->setVR(EVR_OW);
    require(
        pixels->putUint16Array(reinterpret_cast<const Uint16*>(all.data()), static_cast<unsigned long>(all.size() / 2)),
        name, "pixels cannot be written");
  } else {
    pixels->setVR(EVR_OB);
    require(pixels->putUint8Array(all.data(), static_cast<unsigned long>(all.size())), name,
            "pixels cannot be written");
  }
  require(data.insert(pixels.release(), true), name, "pixels cannot be written");
  if (f.samples == 3) {
    require(data.putAndInsertUint16(DCM_PlanarConfiguration, 0), name, "pixels cannot be written");
    if (f.jpeg) put(data, DCM_PhotometricInterpretation, "RGB", name);
  }
  put(data, DCM_BurnedInAnnotation, "NO", name);
  return lines;
}

/// JPEG data without notes; other packed data is refused where it could hold some.
void clean_packed(DcmFileFormat& file, const std::string& name, Cleaner& cleaner) {
  DcmDataset& data = *file.getDataset();
  const E_TransferSyntax syntax = data.getOriginalXfer();
  const DcmXfer described(syntax);
  DcmElement* element = nullptr;
  if (!described.isEncapsulated() || data.findAndGetElement(DCM_PixelData, element).bad() || !element) return;
  if (syntax == EXS_RLELossless) return;  // has no place for notes
  const std::string uid = described.getXferID();
  const std::string jpeg_family = "1.2.840.10008.1.2.4.";
  const int number = uid.starts_with(jpeg_family) ? std::atoi(uid.c_str() + jpeg_family.size()) : 0;
  if (number < 50 || number > 81)
    throw Error(
        ErrorKind::format, name,
        str("its picture is packed as ", described.getXferName(), ", which may hold notes that fovea cannot find"),
        "unpack it first, e.g. by gdcmconv --raw");
  auto sequence = std::make_unique<DcmPixelSequence>(DcmTag(DCM_PixelData, EVR_OB));
  require(sequence->insert(new DcmPixelItem(DcmTag(DCM_PixelItemTag))), name, "the picture cannot be written");
  for (const std::vector<std::uint8_t>& packed : dicom::packed_frames(file, name)) {
    std::vector<std::uint8_t> clean = strip_jpeg(packed, name);
    if (clean.size() != packed.size()) cleaner.add_kind("JPEG notes");
    if (clean.size() % 2) clean.push_back(0);
    auto item = std::make_unique<DcmPixelItem>(DcmTag(DCM_PixelItemTag));
    require(item->putUint8Array(clean.data(), static_cast<unsigned long>(clean.size())), name,
            "the picture cannot be written");
    require(sequence->insert(item.release()), name, "the picture cannot be written");
  }
  // Tables of where fragments begin no longer hold; without them readers go from fragment to fragment.
  for (const DcmTagKey& tag : {DcmTagKey(0x7fe0, 0x0001), DcmTagKey(0x7fe0, 0x0002)}) delete data.remove(tag);
  static_cast<DcmPixelData*>(element)->putOriginalRepresentation(syntax, nullptr, sequence.release());
}

std::vector<std::uint8_t> to_bytes(DcmFileFormat& file, E_TransferSyntax syntax, const std::string& name) {
  std::vector<std::uint8_t> buffer(std::size_t{1} << 20), out;
  DcmOutputBufferStream stream(buffer.data(), static_cast<offile_off_t>(buffer.size()));
  file.transferInit();
  OFCondition result = EC_StreamNotifyClient;
  while (result == EC_StreamNotifyClient) {
    result = file.write(stream, syntax, EET_ExplicitLength, nullptr, EGL_withoutGL, EPD_withoutPadding, 0, 0, 0,
                        EWM_createNewMeta);
    void* data = nullptr;
    offile_off_t size = 0;
    stream.flushBuffer(data, size);
    out.insert(out.end(), static_cast<std::uint8_t*>(data), static_cast<std::uint8_t*>(data) + size);
  }
  file.transferEnd();
  require(result, name, "the new file cannot be written");
  return out;
}

}  // namespace

bool dicom_available() { return true; }

DeidentifiedDicom deidentify_dicom(std::span<const std::uint8_t> bytes, const PseudonymKey& key, const DicomOptions& o,
                                   const std::string& name) {
  if (bytes.size() < 132) throw Error(ErrorKind::format, name, "too short for a DICOM file");
  const std::unique_ptr<DcmFileFormat> file = dicom::parse(bytes, name);
  DcmDataset& data = *file->getDataset();
  if (data.card() == 0) throw Error(ErrorKind::format, name, "this DICOM file is empty");
  DeidentifiedDicom out;
  Cleaner cleaner(key, name);
  if (std::any_of(bytes.begin(), bytes.begin() + 128, [](std::uint8_t b) { return b != 0; }))
    cleaner.add_kind("preamble");
  std::string patient = text_of(data, DCM_PatientID);
  if (patient.empty()) patient = text_of(data, DCM_PatientName);
  if (!patient.empty()) out.subject = key.pseudonym("subject", patient, 12);

  bool changed = false;
  if (data.tagExists(DCM_PixelData) && (o.mask_text || !o.boxes.empty()))
    out.text_lines = clean_pixels(*file, o, name, changed);
  if (!changed) clean_packed(*file, name, cleaner);
  const DcmXfer original(data.getOriginalXfer());
  const E_TransferSyntax syntax = original.isEncapsulated() && !changed ? original.getXfer() : EXS_LittleEndianExplicit;
  cleaner.clean(data);
  if (!out.subject.empty()) {
    put(data, DCM_PatientID, out.subject, name);
    put(data, DCM_PatientName, out.subject, name);
  }
  put(data, DCM_PatientIdentityRemoved, "YES", name);
  delete data.remove(DCM_DeidentificationMethod);
  delete data.remove(DCM_DeidentificationMethodCodeSequence);
  put(data, DCM_DeidentificationMethod, str("fovea ", kVersion, ": PS3.15 ", dicom_profile_edition(), " Annex E"),
      name);
  put_code(data, 0, "113100", "Basic Application Confidentiality Profile", name);
  if (changed) put_code(data, 1, "113101", "Clean Pixel Data Option", name);
  put(data, DCM_LongitudinalTemporalInformationModified, "REMOVED", name);
  // A new file around the data: its preamble is zeros, its meta information is made from the new UIDs.
  DcmFileFormat fresh(&data);
  out.bytes = to_bytes(fresh, syntax, name);
  out.removed = cleaner.kinds();
  return out;
}

}  // namespace fovea::insight

#endif
