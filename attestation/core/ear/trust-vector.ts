/**
 * The trustworthiness vector of AR4SI (draft-ietf-rats-ar4si, section 2.3): what a verifier says of a device in eight
 * words that every relying party reads alike. Values are named here after that document; a class picks from them.
 */

/** Claims of the vector, by the names that EAR gives them in JSON. */
export const TRUST_CLAIMS = [
  'instance-identity',
  'configuration',
  'executables',
  'file-system',
  'hardware',
  'runtime-opaque',
  'storage-opaque',
  'sourced-data',
] as const;
export type TrustClaim = (typeof TRUST_CLAIMS)[number];

/** What is said of a device: values from 0 to 127. A claim that is not there is not made, as with the value 0. */
export type TrustVector = Readonly<Partial<Record<TrustClaim, number>>>;

/** The values that classes of this project use; section 2.3.4 of AR4SI defines them. */
export const TrustValue = {
  /** instance-identity: the device is recognised, and not known to be compromised. */
  trustworthyInstance: 2,
  /** configuration: as the appraisal policy wants it. */
  approvedConfiguration: 2,
  /** executables: only what reference values name was loaded at boot; nothing is said of what came later. */
  approvedBoot: 3,
  /** hardware: authentic, with firmware that passed the policy's floors. */
  genuineHardware: 2,
  /** hardware: the verifier does not recognise it, as with everything simulated. */
  unrecognisedHardware: 97,
  /** runtime-opaque: memory is encrypted, and opaque to the machine's operator. */
  encryptedMemory: 2,
  /** runtime-opaque: memory is not shared with other workloads, but the machine's operator can read it. */
  isolatedMemory: 32,
} as const;

/** From the best to the worst. */
export const TRUST_TIERS = ['affirming', 'none', 'warning', 'contraindicated'] as const;
export type TrustTier = (typeof TRUST_TIERS)[number];

/** The tier of one value (AR4SI, section 2.3.2). */
function tierOf(value: number): TrustTier {
  if (value < 2) return 'none';
  if (value < 32) return 'affirming';
  return value < 96 ? 'warning' : 'contraindicated';
}

/** The worst of several tiers; of none, `none`. */
export function worstTier(tiers: readonly TrustTier[]): TrustTier {
  const worst = Math.max(...tiers.map((tier) => TRUST_TIERS.indexOf(tier)));
  return TRUST_TIERS[worst] ?? 'none';
}

/** The tier of a device: that of the worst claim made. A vector without a claim is of the tier `none`. */
export function tierOfVector(vector: TrustVector): TrustTier {
  return worstTier(Object.values(vector).map(tierOf));
}
