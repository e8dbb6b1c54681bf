/**
 * Roots of makers of TPMs, as pinned keys. Their certificates come with the collateral; these digests decide. Where they are
 * from: SOURCES.md.
 */

import { fromHex } from '../../core/bytes.ts';
import type { PinnedKeyAnchor } from '../../core/certificate-path.ts';

export interface PinnedMaker {
  readonly commonName: string;
  /** A discrete TPM is a chip of its own. What a virtual one says, whoever runs its host can say. */
  readonly kind: 'discrete' | 'virtual';
  /** SHA-256 of the SubjectPublicKeyInfo, hex: what is compared. */
  readonly publicKeyDigest: string;
  /** SHA-256 of the certificate, hex: to recognise the file; a certificate issued anew would have another. */
  readonly certificateDigest: string;
  /** Validity of the certificate, RFC 3339. */
  readonly notBefore: string;
  readonly notAfter: string;
}

export const TPM_MAKERS: readonly PinnedMaker[] = [
  {
    commonName: 'Infineon OPTIGA(TM) RSA Root CA',
    kind: 'discrete',
    publicKeyDigest: '8a705088efa28a3845b35c7fcbf9c0f4bf46c77da18a6f1a173eb9074610cbd0',
    certificateDigest: '899e35474c9807eb4c7f2f7a12da0028fb250cd02154d0009fca7d9c66574f3b',
    notBefore: '2013-07-26T00:00:00Z',
    notAfter: '2043-07-25T23:59:59Z',
  },
  {
    commonName: 'GlobalSign Trusted Platform Module ECC Root CA',
    kind: 'discrete',
    publicKeyDigest: '43679317522d3638ea18936a57c65b33086ba51c77536fe6e1b65492193314cb',
    certificateDigest: '5a8c7b5eb888cfce9322068e80e82b28b554ffeb7fdc9638dcb3763077401d26',
    notBefore: '2014-11-26T00:00:00Z',
    notAfter: '2038-01-19T03:14:07Z',
  },
  {
    commonName: 'Nuvoton TPM Root CA 2111',
    kind: 'discrete',
    publicKeyDigest: '95b8ab2c350f58064c30a217f07e0a3353915edee572c5fb2ebcf8fa3f87a813',
    certificateDigest: 'cd8185ff8995ed09811970090a8c36fafab34ef87f47fa51fdb9ecf95c9c2e04',
    notBefore: '2017-09-11T07:09:49Z',
    notAfter: '2037-09-07T07:09:49Z',
  },
  {
    commonName: 'tpm_ek_v1_cloud_host_root-signer-0-2018-04-06T10:58:26-07:00 K:1, 1:Pw003HsFYO4:0:18',
    kind: 'virtual',
    publicKeyDigest: 'f23057f4f97d1d90e4cae0ce91d5a0fc99069f0a1bc147021dca33b1e9c4d0d9',
    certificateDigest: '9bd5285f8fb18502a7947e621ffd470266f49fcd3b73e19a190f690ad32a7caf',
    notBefore: '2018-04-06T17:58:26Z',
    notAfter: '2118-04-06T18:58:26Z',
  },
];

/** Makers of discrete TPMs as anchors. Those of virtual ones are accepted only where an operator adds them. */
export const discreteTpmAnchors: readonly PinnedKeyAnchor[] = TPM_MAKERS.filter(
  ({ kind }) => kind === 'discrete',
).map(({ commonName, publicKeyDigest }) => ({
  name: commonName,
  purpose: 'endorsements',
  publicKeyDigest: fromHex(publicKeyDigest, commonName),
  simulated: false,
}));
