/** The sections of a unified kernel image that its stub measures (docs/spec/tpm-reference.md, section 2). */

import { fromUtf8 } from '../../core/bytes.ts';
import { defineRefusals } from '../../core/refusal.ts';
import type { PeImage, PeSection } from './pe.ts';
import {
  FIRST_RELEASE,
  MEASURED_SECTIONS,
  PROFILE_SECTION,
  SECTIONS_BY_HARDWARE,
  SIGNATURE_SECTION,
} from './uki-sections.ts';
import type { MeasuredSection } from './uki-sections.ts';

export const ukiRefusals = defineRefusals('malformed', {
  'uki-section': {
    means:
      'An image is no unified kernel image, or its stub could take another section than the one that is read.',
    hint: 'Build the image with ukify or objcopy: each section once, with data as long as its size in memory.',
  },
  'uki-release': {
    means: 'The stub of a unified kernel image is of a release whose measurements are not known here.',
    hint: 'Use a stub of systemd 252, or of 255 and later; 253 and 254 only without .uname and .sbat.',
  },
  'uki-hardware': {
    means: 'What a unified kernel image measures depends on the hardware that it starts on.',
    hint: 'Build an image for one kind of machine, with .dtb in place of .dtbauto and without .efifw.',
  },
});

export interface UkiSection {
  readonly name: string;
  readonly content: Uint8Array;
}

export interface Uki {
  /** Release of systemd that the stub comes from. */
  readonly release: number;
  /** What is measured, in the order in which it is. */
  readonly measured: readonly UkiSection[];
  readonly kernel: Uint8Array;
}

/**
 * @param profile number of the profile that is started, 0 without any choice
 * @throws RefusalError `uki-*`
 */
export function readUki(image: PeImage, profile: number, name: string): Uki {
  const release = stubRelease(image, name);
  const sections = selectSections(image.sections, profile, name);
  const measured = MEASURED_SECTIONS.flatMap((known) => {
    const found = sections.get(known.name);
    if (found === undefined || !isMeasured(known, release, name)) return [];
    return [{ name: known.name, content: contentOf(found, name) }];
  });
  const kernel = measured.find((section) => section.name === '.linux')?.content;
  if (kernel === undefined) refuseSection(`${name}.linux`, 'a kernel', 'none');
  return { release, measured, kernel };
}

function refuseSection(field: string, expected: string, found: string): never {
  throw ukiRefusals.error('uki-section', { field, expected, found });
}

function refuseRelease(field: string, expected: string, found: string): never {
  throw ukiRefusals.error('uki-release', { field, expected, found });
}

const STUB_MARK = /^#### LoaderInfo: systemd-stub ([0-9]{3})(?![0-9])[\x20-\x7e]* ####$/;

/** The stub states its release in a section that the signature of the image covers. */
function stubRelease({ sections }: PeImage, name: string): number {
  const field = `${name}.sdmagic`;
  const marks = sections.filter((section) => section.name === '.sdmagic');
  const [only] = marks;
  if (only === undefined || marks.length > 1)
    refuseSection(field, 'one mark of systemd-stub', String(marks.length));
  const content = contentOf(only, name);
  const end = content.indexOf(0);
  const text = fromUtf8(end < 0 ? content : content.subarray(0, end), field);
  const release = Number(STUB_MARK.exec(text)?.[1] ?? 0);
  if (release < FIRST_RELEASE)
    refuseRelease(field, `systemd-stub ${FIRST_RELEASE} or later`, text.slice(0, 80));
  return release;
}

function isMeasured(
  { name, notBefore, surelySince }: MeasuredSection,
  release: number,
  image: string,
): boolean {
  if (release >= notBefore && release < surelySince) {
    refuseRelease(`${image}${name}`, `a stub before ${notBefore} or since ${surelySince}`, String(release));
  }
  return release >= surelySince;
}

const KNOWN: ReadonlySet<string> = new Set([...MEASURED_SECTIONS.map(({ name }) => name), SIGNATURE_SECTION]);

/** What stands before the first profile, overridden by what stands in the one that was chosen. */
function selectSections(
  sections: readonly PeSection[],
  profile: number,
  name: string,
): ReadonlyMap<string, PeSection> {
  const starts = sections.flatMap((section, i) => (section.name === PROFILE_SECTION ? [i] : []));
  if (profile > 0 && profile >= starts.length)
    refuseSection(`${name}.profile`, `profile ${profile}`, `${starts.length} profiles`);
  const base = namedSections(sections.slice(0, starts[0] ?? sections.length), name);
  const chosen = starts[profile] === undefined ? [] : sections.slice(starts[profile], starts[profile + 1]);
  return new Map([...base, ...namedSections(chosen, name)]);
}

/** Stubs differ in which of two equal names they take. */
function namedSections(sections: readonly PeSection[], image: string): ReadonlyMap<string, PeSection> {
  const found = new Map<string, PeSection>();
  for (const section of sections) {
    const { name } = section;
    if (SECTIONS_BY_HARDWARE.has(name)) {
      const facts = {
        field: `${image}${name}`,
        expected: 'no section that hardware decides on',
        found: name,
      };
      throw ukiRefusals.error('uki-hardware', facts);
    }
    if (!KNOWN.has(name)) continue;
    if (found.has(name)) refuseSection(`${image}${name}`, 'one section', 'several of this name');
    found.set(name, section);
  }
  return found;
}

/** The stub measures as many bytes as the section has in memory; the file may be filled up behind them. */
function contentOf({ name, virtualBytes, data }: PeSection, image: string): Uint8Array {
  if (virtualBytes === 0 || virtualBytes > data.length) {
    refuseSection(`${image}${name}`, `1 to ${data.length} bytes in memory`, String(virtualBytes));
  }
  return data.subarray(0, virtualBytes);
}
