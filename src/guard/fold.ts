/**
 * Views of a text: foldings under which different spellings of one word become equal. A text is judged in each view,
 * so that what one of them hides shows in another.
 *
 * Folding goes code point by code point and remembers nothing, so a text may arrive in any pieces: folding the pieces
 * gives the same as folding the whole. That is why marks are dropped after NFKD instead of composed by NFKC (of both
 * forms of a text, the same remains), and why case is folded without looking at neighbours.
 */

/** What a code point becomes: nothing, one space (which ends a word), or letters and digits. */
export type Folding = (codePoint: number) => string;

const WORD = /^[\p{L}\p{N}\p{Mc}]+$/u;
const INVISIBLE = /^[\p{Cf}\p{Mn}\p{Me}\p{Default_Ignorable_Code_Point}]$/u;
const IGNORED_IN_COMPATIBILITY_FORM = /[\p{Cf}\p{Mn}\p{Me}\p{Default_Ignorable_Code_Point}]/gu;

/** Tag characters repeat ASCII invisibly; models read them, people do not. */
const TAGS_FROM = 0xe0020;
const TAGS_TO = 0xe007e;

/**
 * Letters that look like Latin ones and have no compatibility form of their own: the part of Unicode's confusables
 * (UTS 39) that is used to disguise words. Each line holds look-alikes and then the Latin letters that they stand for.
 */
const CONFUSABLES: ReadonlyMap<string, string> = new Map(
  [
    ['авгеһіјкӏмнпорԛѕтυухԁԝѵ', 'abrehijklmhnopqstyyxdwv'],
    ['αβγεηικνορτχω', 'abyenikvoptxw'],
    ['օսհոցք', 'ouhngf'],
    ['ıɑɡłøđħɩɪ', 'iaglodhii'],
  ].flatMap(([from = '', to = '']) => Array.from(from).map((letter, i) => [letter, to.charAt(i)] as const)),
);

/** Letter case and word ends only: the text as it is written. */
export const foldPlain: Folding = (codePoint) => {
  const letter = String.fromCodePoint(codePoint);
  return WORD.test(letter) ? letter.toLowerCase() : ' ';
};

/** The text as it is read: compatibility forms, marks, invisible characters and look-alikes resolved. */
export const foldAppearance: Folding = (codePoint) => {
  const character = String.fromCodePoint(codePoint);
  if (INVISIBLE.test(character)) return '';
  const bare = character.normalize('NFKD').replace(IGNORED_IN_COMPATIBILITY_FORM, '').toLowerCase();
  let folded = '';
  for (const letter of bare) folded += WORD.test(letter) ? (CONFUSABLES.get(letter) ?? letter) : ' ';
  return folded === '' ? ' ' : folded;
};

/** Only what is written in tag characters, as the ASCII that they repeat. */
export const foldHidden: Folding = (codePoint) =>
  codePoint >= TAGS_FROM && codePoint <= TAGS_TO ? foldPlain(codePoint - 0xe0000) : '';

/** How a text is judged in one view, and how the terms are spelled that are searched in it. */
export interface View {
  readonly name: string;
  readonly text: Folding;
  readonly terms: Folding;
}

/** As it is written, as it is read, and as it hides. */
export const views: readonly View[] = [
  { name: 'plain', text: foldPlain, terms: foldPlain },
  { name: 'appearance', text: foldAppearance, terms: foldAppearance },
  { name: 'hidden', text: foldHidden, terms: foldPlain },
];

/** Foldings of characters outside the table are remembered up to this many, so that a text cannot fill the memory. */
const REMEMBERED = 8192;
const TABLE_SIZE = 0x80;

/** A folding with a table for ASCII and a bounded memory for the rest. */
export class FoldingTable {
  private readonly folding: Folding;
  private readonly ascii: readonly string[];
  private readonly others = new Map<number, string>();

  constructor(folding: Folding) {
    this.folding = folding;
    this.ascii = Array.from({ length: TABLE_SIZE }, (_, codePoint) => folding(codePoint));
  }

  fold(codePoint: number): string {
    const known = this.ascii[codePoint] ?? this.others.get(codePoint);
    if (known !== undefined) return known;
    const folded = this.folding(codePoint);
    if (this.others.size < REMEMBERED) this.others.set(codePoint, folded);
    return folded;
  }
}

/** Folds a stream of text in any pieces into words with single spaces between them. */
export class FoldedText {
  private readonly table: FoldingTable;
  private pendingSurrogate = '';
  private afterSpace = true;

  constructor(table: FoldingTable) {
    this.table = table;
  }

  push(text: string): string {
    let folded = '';
    for (const character of this.takePending(text)) {
      for (const letter of this.table.fold(character.codePointAt(0) ?? 0)) {
        if (letter === ' ' && this.afterSpace) continue;
        this.afterSpace = letter === ' ';
        folded += letter;
      }
    }
    return folded;
  }

  /** Ends the last word. */
  finish(): string {
    const rest = this.pendingSurrogate === '' ? '' : this.push('\ufffd');
    this.pendingSurrogate = '';
    if (this.afterSpace) return rest;
    this.afterSpace = true;
    return `${rest} `;
  }

  /** Half a surrogate pair at the end waits for its other half. */
  private takePending(text: string): string {
    const joined = this.pendingSurrogate + text;
    const last = joined.charCodeAt(joined.length - 1);
    const endsInHalf = last >= 0xd800 && last <= 0xdbff;
    this.pendingSurrogate = endsInHalf ? joined.slice(-1) : '';
    return endsInHalf ? joined.slice(0, -1) : joined;
  }
}

/** A whole text at once, with one space at its end unless it has no word. */
export function foldWhole(folding: Folding, text: string): string {
  const folded = new FoldedText(new FoldingTable(folding));
  return folded.push(text) + folded.finish();
}
