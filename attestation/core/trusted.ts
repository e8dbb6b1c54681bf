/**
 * The difference between what somebody claims and what was verified, as a type that a cast cannot fake: trusted
 * values are known by identity at run time as well.
 */

declare const trustedMark: unique symbol;

/** A value that came out of a verification in which every check passed. */
export type Trusted<T extends object> = Readonly<T> & { readonly [trustedMark]: true };

const trustedValues = new WeakSet();

/**
 * Marks a value as verified. Called by `judge` in verdict.ts and by nobody else.
 *
 * The value is frozen, so that what was verified is what is used later.
 */
export function markTrusted<T extends object>(value: T): Trusted<T> {
  trustedValues.add(value);
  return Object.freeze(value) as Trusted<T>;
}

/** Whether this very object came out of a verification. For the last gate before a key is released. */
export function isTrusted<T extends object>(value: T): value is Trusted<T> {
  return trustedValues.has(value);
}
