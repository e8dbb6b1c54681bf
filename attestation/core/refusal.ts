/**
 * Refusals: every way in which this project says no.
 *
 * A refusal is data, never only text: a stable code out of a closed set, the field it is about, what was expected,
 * what was found, and a hint for the person who reads it. Programs decide by the code alone; the code of a refusal
 * is part of our interface and never changes its meaning.
 */

/** What one code of a family means and what a person can do about it. */
export interface RefusalCodeText {
  readonly means: string;
  readonly hint: string;
}

/** One refusal, in the form in which it is logged and sent. */
export interface Refusal<Code extends string = string> {
  readonly code: Code;
  /** Path of the value that was refused, for example `attest.extraData`. */
  readonly field: string;
  readonly expected: string;
  readonly found: string;
  readonly hint: string;
}

/** The facts that the place of refusal knows; the hint comes from the code's own text. */
export type RefusalFacts = Omit<Refusal, 'code' | 'hint'>;

/**
 * What kind of no it is: `malformed` (the bytes are not what they claim to be), `inauthentic` (a signature, chain
 * or proof does not hold), `unacceptable` (authentic, but a floor or policy says no), `usage` (the caller asked
 * wrongly), `unavailable` (something needed did not answer), `environment` (this machine cannot do it).
 */
export type RefusalFamilyName =
  'malformed' | 'inauthentic' | 'unacceptable' | 'usage' | 'unavailable' | 'environment';

/** The only error type that this project throws on purpose. */
export class RefusalError<Code extends string = string> extends Error {
  override readonly name = 'RefusalError';
  readonly family: RefusalFamilyName;
  readonly refusal: Refusal<Code>;

  constructor(family: RefusalFamilyName, refusal: Refusal<Code>, options?: ErrorOptions) {
    super(`${refusal.code}: ${refusal.field}: expected ${refusal.expected}, found ${refusal.found}`, options);
    this.family = family;
    this.refusal = refusal;
  }
}

/** A closed set of codes that share a family. */
export interface RefusalFamily<Code extends string> {
  readonly family: RefusalFamilyName;
  readonly codes: Readonly<Record<Code, RefusalCodeText>>;
  /** The refusal as data, for verdicts that collect several. */
  refusal(code: Code, facts: RefusalFacts): Refusal<Code>;
  /** The refusal as an error to throw. */
  error(code: Code, facts: RefusalFacts, options?: ErrorOptions): RefusalError<Code>;
}

/** Declares a closed set of refusal codes. Codes are kebab-case and unique over the whole project. */
export function defineRefusals<Code extends string>(
  family: RefusalFamilyName,
  codes: Readonly<Record<Code, RefusalCodeText>>,
): RefusalFamily<Code> {
  const refusal = (code: Code, facts: RefusalFacts): Refusal<Code> => ({
    code,
    ...facts,
    hint: codes[code].hint,
  });
  return {
    family,
    codes,
    refusal,
    error: (code, facts, options) => new RefusalError(family, refusal(code, facts), options),
  };
}

/** Whether something thrown is one of our refusals; `instanceof` alone leaves its code without a type. */
export function isRefusal(error: unknown): error is RefusalError {
  return error instanceof RefusalError;
}
