/**
 * NVIDIA's authorities as pinned keys, each for one purpose: a root of devices, a root of reference values (RIM), and the
 * authority below which NVIDIA's remote attestation service signs. None of them stands for another. Where they are from:
 * SOURCES.md.
 */

import { fromHex } from '../../core/bytes.ts';
import type { AnchorPurpose, PinnedKeyAnchor } from '../../core/certificate-path.ts';

export interface PinnedAuthority {
  readonly commonName: string;
  readonly purpose: AnchorPurpose;
  /** SHA-256 of the SubjectPublicKeyInfo, hex: what is compared. */
  readonly publicKeyDigest: string;
  /** SHA-256 of the certificate, hex: to recognise the file; a certificate issued anew would have another. */
  readonly certificateDigest: string;
  /** Validity of the certificate, RFC 3339. */
  readonly notBefore: string;
  readonly notAfter: string;
}

export const NVIDIA_AUTHORITIES: readonly PinnedAuthority[] = [
  {
    commonName: 'NVIDIA Device Identity CA',
    purpose: 'endorsements',
    publicKeyDigest: 'a90c4eb5acfd3e3d03a25db6a26b84f720ad0503196c627c21ddd48dd85b06a4',
    certificateDigest: '102bf659d5419614c9d8e6aecebc80454eb26b1df6a769ac720b9a690b167b48',
    notBefore: '2021-11-05T00:00:00Z',
    notAfter: '9999-12-31T23:59:59Z',
  },
  {
    commonName: 'NVIDIA CoRIM signing Root CA',
    purpose: 'reference-values',
    publicKeyDigest: 'dec1dc316477aa851eebdf51327ae9f864bc8d89254657ed1e7eb9168af1e1a3',
    certificateDigest: '12977b5115acb0381179279fffeb5a8c4d264971ebb32298023a465fa41df5d1',
    notBefore: '2023-03-16T15:37:34Z',
    notAfter: '2053-03-08T15:37:34Z',
  },
  {
    commonName: 'NVIDIA Attestation Service GPU Intermediate 004',
    purpose: 'attestation-results',
    publicKeyDigest: 'fd32837f954e2c45db073105166dfe6985ae0480bb113fba63b091a75affe896',
    certificateDigest: '2df8907cf4d6c277b855d407ec178a649930a8e73f7294e8fce66e6ee27c5175',
    notBefore: '2025-12-08T00:00:00Z',
    notAfter: '2029-12-08T00:00:00Z',
  },
];

/** NVIDIA's authorities as anchors of real hardware. */
export const nvidiaAnchors: readonly PinnedKeyAnchor[] = NVIDIA_AUTHORITIES.map(
  ({ commonName, purpose, publicKeyDigest }) => ({
    name: commonName,
    purpose,
    publicKeyDigest: fromHex(publicKeyDigest, commonName),
    simulated: false,
  }),
);
