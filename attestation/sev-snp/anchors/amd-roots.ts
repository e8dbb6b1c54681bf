/**
 * AMD's roots of the SEV-SNP hierarchies (ARK), one for each product line, as pinned keys. The certificates come with the
 * evidence or the collateral; these digests decide. Where they are from: SOURCES.md.
 */

import { fromHex } from '../../core/bytes.ts';
import type { PinnedKeyAnchor } from '../../core/certificate-path.ts';
import type { ProductLine } from '../product.ts';

export interface PinnedRoot {
  readonly line: ProductLine;
  readonly commonName: string;
  /** SHA-256 of the SubjectPublicKeyInfo, hex: what is compared. */
  readonly publicKeyDigest: string;
  /** SHA-256 of the certificate, hex: to recognise the file; a certificate issued anew would have another. */
  readonly certificateDigest: string;
  /** Serial number, hex. */
  readonly serialNumber: string;
  /** Validity of the certificate, RFC 3339. */
  readonly notBefore: string;
  readonly notAfter: string;
}

export const AMD_ROOTS: readonly PinnedRoot[] = [
  {
    line: 'Milan',
    commonName: 'ARK-Milan',
    publicKeyDigest: '9f056bee44377e29308cb5ffa895bdfb62d18881fa6bed8d6f075b0204089cb9',
    certificateDigest: '69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd',
    serialNumber: '010000',
    notBefore: '2020-10-22T17:23:05Z',
    notAfter: '2045-10-22T17:23:05Z',
  },
  {
    line: 'Genoa',
    commonName: 'ARK-Genoa',
    publicKeyDigest: '429a69c9422aa258ee4d8db5fcda9c6470ef15f8cd5a9cebd6cbc7d90b863831',
    certificateDigest: '4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1',
    serialNumber: '020000',
    notBefore: '2022-01-26T15:34:37Z',
    notAfter: '2047-01-26T15:34:37Z',
  },
  {
    line: 'Turin',
    commonName: 'ARK-Turin',
    publicKeyDigest: '4f125410563a2ab9a50356f9243f6fe0b6f73de98603f53f90339c70e9d7ad08',
    certificateDigest: '1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a',
    serialNumber: '030000',
    notBefore: '2023-05-15T20:03:12Z',
    notAfter: '2048-05-15T20:03:12Z',
  },
];

/** AMD's roots as anchors of real hardware. */
export const amdAnchors: readonly PinnedKeyAnchor[] = AMD_ROOTS.map(({ commonName, publicKeyDigest }) => ({
  name: commonName,
  publicKeyDigest: fromHex(publicKeyDigest, commonName),
  simulated: false,
}));
