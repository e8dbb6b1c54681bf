/**
 * JSON that others write and that has no canonical form: safetensors headers, indexes of shards, model signatures,
 * answers of vendors. What JSON.parse passes over silently is found in the text before it is parsed: nesting that costs
 * memory, and members of one name, of which JSON.parse keeps the last and other readers the first (W11).
 */

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COLON = 0x3a;
const SMALL_E = 0x65;
/** Outside of strings these stand in numbers alone: minus, point, E. */
const NUMBER_SIGNS = new Set([0x2d, 0x2e, 0x45]);
const OPENING = new Set([0x5b, 0x7b]);
const CLOSING = new Set([0x5d, 0x7d]);

/** Why a text is not taken. */
export type ForeignJsonProblem = 'too-deep' | 'not-json' | 'duplicate-member';

interface ParsedJson {
  readonly problem: undefined;
  readonly value: unknown;
  /** Whether every number is written as digits alone: no sign, fraction or exponent. */
  readonly hasPlainNumbers: boolean;
}

export type ForeignJson = ParsedJson | { readonly problem: ForeignJsonProblem };

/**
 * Parses a text whose length the caller has bounded.
 *
 * @param maxDepth levels of objects and lists, the outermost included
 */
export function parseForeignJson(text: string, maxDepth: number): ForeignJson {
  const written = survey(text);
  if (written.depth > maxDepth) return { problem: 'too-deep' };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { problem: 'not-json' };
  }
  if (countMembers(value) !== written.members) return { problem: 'duplicate-member' };
  return { problem: undefined, value, hasPlainNumbers: written.hasPlainNumbers };
}

interface Survey {
  readonly depth: number;
  readonly members: number;
  readonly hasPlainNumbers: boolean;
}

/** In a text that is JSON, every colon outside of a string is that of one member. */
function survey(text: string): Survey {
  let depth = 0;
  let deepest = 0;
  let members = 0;
  let hasPlainNumbers = true;
  for (let at = 0; at < text.length; at += 1) {
    const character = text.charCodeAt(at);
    if (character === QUOTE) at = endOfString(text, at);
    else if (character === COLON) members += 1;
    else if (OPENING.has(character)) deepest = Math.max(deepest, (depth += 1));
    else if (CLOSING.has(character)) depth -= 1;
    else if (NUMBER_SIGNS.has(character) || (character === SMALL_E && isDigit(text.charCodeAt(at - 1)))) {
      hasPlainNumbers = false;
    }
  }
  return { depth: deepest, members, hasPlainNumbers };
}

function isDigit(character: number): boolean {
  return character >= 0x30 && character <= 0x39;
}

function endOfString(text: string, start: number): number {
  let at = start + 1;
  while (at < text.length && text.charCodeAt(at) !== QUOTE) at += text.charCodeAt(at) === BACKSLASH ? 2 : 1;
  return at;
}

/** The depth is bounded by then. */
function countMembers(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0;
  const inner = Object.values(value).reduce((sum: number, member) => sum + countMembers(member), 0);
  return Array.isArray(value) ? inner : inner + Object.keys(value).length;
}
