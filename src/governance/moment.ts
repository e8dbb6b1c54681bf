/** Where in the log something became true. */
export interface LoggedMoment {
  /** Index of the entry, counted from the genesis entry, which is 0. */
  readonly index: number;
  /** POSIX seconds as logged. */
  readonly at: number;
  /** Lower-case hex SHA-256 of the statement's payload. */
  readonly payloadDigest: string;
}
