/** The log as its server publishes it. */

import type { LogSource } from '../log/reader.ts';
import { MAX_LOG_FILE_BYTES } from '../log/sources.ts';
import type { HttpClient } from '../platform/http-client.ts';

/** Nothing that the server says is trusted; see `auditLog`. */
export function serverSource(client: HttpClient): LogSource {
  return async (path) => await client.findBytes(`/log/${path}`, MAX_LOG_FILE_BYTES);
}
