/**
 * What each `s3_scheme` wants of a client. The providers differ in addressing, in which checksums they refuse, and in
 * how an object is made only if it is not there yet.
 */
import type { S3ClientConfig } from '@aws-sdk/client-s3';
import { PermanentError, type S3PoolSpec, type S3Scheme } from '@openservice/domain';

export interface S3Dialect {
  /** Header that makes a PUT fail where the key is taken. */
  readonly ifAbsentHeader: readonly [name: string, value: string];
  /** False where servers differ: there the header is proven before it is trusted. */
  readonly ifAbsentTrusted: boolean;
  readonly forcePathStyle: boolean;
}

const DIALECTS: Record<S3Scheme, S3Dialect> = {
  aws: { ifAbsentHeader: ['if-none-match', '*'], ifAbsentTrusted: true, forcePathStyle: false },
  oss: { ifAbsentHeader: ['x-oss-forbid-overwrite', 'true'], ifAbsentTrusted: true, forcePathStyle: false },
  cos: { ifAbsentHeader: ['x-cos-forbid-overwrite', 'true'], ifAbsentTrusted: true, forcePathStyle: false },
  other: { ifAbsentHeader: ['if-none-match', '*'], ifAbsentTrusted: false, forcePathStyle: true },
};

export function dialectOf(scheme: S3Scheme): S3Dialect {
  return DIALECTS[scheme];
}

/** The URL requests go to, null for the SDK's own of `region`. PermanentError `endpoint_invalid`. */
export function endpointOf(spec: S3PoolSpec): string | null {
  const protocol = spec.https ? 'https' : 'http';
  if (spec.endpoint !== null && spec.endpoint !== '') {
    const text = /^[a-z]+:\/\//i.test(spec.endpoint) ? spec.endpoint : `${protocol}://${spec.endpoint}`;
    const url = URL.parse(text);
    if (url === null || !/^https?:$/.test(url.protocol)) {
      throw new PermanentError('endpoint_invalid', `"${spec.endpoint}" is no S3 endpoint; give http(s)://host[:port].`);
    }
    return url.origin;
  }
  switch (spec.s3_scheme) {
    case 'oss':
      return `${protocol}://oss-${spec.region}.aliyuncs.com`;
    case 'cos':
      return `${protocol}://cos.${spec.region}.myqcloud.com`;
    case 'aws':
      return spec.https ? null : `http://s3.${spec.region}.amazonaws.com`;
    case 'other':
      throw new PermanentError('endpoint_invalid', 'An S3 pool with s3_scheme "other" needs an endpoint: http(s)://host[:port].');
  }
}

/** Everything of the client's configuration but its HTTP handler. */
export function clientConfig(spec: S3PoolSpec): S3ClientConfig {
  const endpoint = endpointOf(spec);
  return {
    region: spec.region === '' ? 'us-east-1' : spec.region,
    credentials: { accessKeyId: spec.access_key, secretAccessKey: spec.secret_key },
    forcePathStyle: dialectOf(spec.s3_scheme).forcePathStyle,
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    followRegionRedirects: false,
    // Retries belong to the wrapper around the backend: only it counts and reports them.
    maxAttempts: 1,
    ...(endpoint === null ? {} : { endpoint }),
  };
}
