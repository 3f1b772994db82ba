package Client;
# An HTTP/1.1 client that sends exactly the bytes it is given and notices how a response ends.
use strict;
use warnings;
use IO::Socket::INET;
use Socket qw(IPPROTO_TCP TCP_NODELAY SHUT_WR);
use Time::HiRes qw(time);

# port => N, timeout => seconds that any single read may take as a whole (10).
sub new {
    my ($class, %arg) = @_;
    my $self = bless { timeout => 10, in => '', eof => 0, %arg }, $class;
    $self->{sock} = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $arg{port}, Proto => 'tcp', Timeout => 5)
        or die "connect to port $arg{port}: $@";
    $self->{sock}->setsockopt(IPPROTO_TCP, TCP_NODELAY, 1);
    $self->{sock}->blocking(1);
    return $self;
}

# Writes bytes as they are. 0 when the server does not take them any more.
sub send {
    my ($self, $bytes) = @_;
    local $SIG{PIPE} = 'IGNORE';
    my $done = 0;
    while ($done < length $bytes) {
        my $n = syswrite $self->{sock}, $bytes, length($bytes) - $done, $done;
        return 0 unless defined $n;
        $done += $n;
    }
    return 1;
}

sub shutdown { $_[0]{sock}->shutdown(SHUT_WR) }
sub close    { $_[0]{sock}->close }

# Builds and sends a request: method, path, then body => bytes, head => 1 to keep header names as given; others are header fields.
sub write_request {
    my ($self, $method, $path, %field) = @_;
    my $body = delete $field{body};
    $field{Host} //= 'localhost';
    $field{'Content-Length'} //= length $body if defined $body && !$field{'Transfer-Encoding'};
    my $head = "$method $path HTTP/1.1\r\n" . join '', map { "$_: $field{$_}\r\n" } sort keys %field;
    return $self->send("$head\r\n" . ($body // ''));
}

# One request and its response on this connection, which stays open.
sub ask {
    my ($self, $method, $path, %field) = @_;
    $self->write_request($method, $path, %field);
    return $self->read_response($method);
}
sub get { my ($self, $path, %field) = @_; $self->ask('GET', $path, %field) }

# Reads more; 0 at the end of the stream, undef when time is up.
sub _more {
    my ($self, $deadline) = @_;
    return 0 if $self->{eof};
    my $left = $deadline - time;
    my $ready = '';
    vec($ready, fileno $self->{sock}, 1) = 1;
    return undef if $left <= 0 || select($ready, undef, undef, $left) <= 0;
    my $n = sysread $self->{sock}, $self->{in}, 65536, length $self->{in};
    return $n if $n;
    $self->{reset} = 1 unless defined $n;
    $self->{eof} = 1;
    return 0;
}

# Everything until the server closes, as bytes.
sub read_all {
    my ($self) = @_;
    my $deadline = time + $self->{timeout};
    1 while $self->_more($deadline);
    return delete($self->{in}) . ($self->{in} = '');
}

# 1 when the server closes the connection (within seconds) without another byte.
sub closed {
    my ($self, $seconds) = @_;
    my $n = $self->_more(time + ($seconds // $self->{timeout}));
    return defined $n && $n == 0 && $self->{in} eq '' ? 1 : 0;
}

# The next response, interim ones (1xx but 101) collected in {interim}. Fields: status, reason, minor, fields [[name, value]...], head, body,
# complete (1: ended as its framing says), framed ('length', 'chunked', 'close', 'none'), error (what was wrong), see Client::Response.
sub read_response {
    my ($self, $method, %opt) = @_;
    my $deadline = time + $self->{timeout};
    my (@interim, $r);
    do {
        push @interim, $r if $r;
        $r = $self->_head($deadline);
    } while ($r->{status} >= 100 && $r->{status} < 200 && $r->{status} != 101 && !$opt{interim});
    $r->{interim} = \@interim;
    return $r if $r->{error} || $r->{status} < 200;
    $self->_body($r, $method // 'GET', $deadline);
    return $r;
}

sub _head {
    my ($self, $deadline) = @_;
    my $r = bless { status => 0, reason => '', fields => [], head => '', body => '', complete => 0, framed => 'none' }, 'Client::Response';
    until ($self->{in} =~ /\r?\n\r?\n/) {
        next if $self->_more($deadline);
        $r->{error} = $self->{eof} ? 'closed before the end of the head' : 'timeout in the head';
        $r->{head} = $self->{in};
        return $r;
    }
    $self->{in} =~ s/^(.*?\r?\n)\r?\n//s;
    $r->{head} = $1;
    my ($line, @rest) = split /\r?\n/, $1;
    unless ($line =~ m{^HTTP/1\.(\d) (\d{3}) ?(.*)$}) {
        $r->{error} = "no status line: $line";
        return $r;
    }
    @$r{qw(minor status reason)} = ($1, $2, $3);
    $r->{fields} = [map { [/^([^:]*):\s*(.*?)\s*$/] } @rest];
    return $r;
}

sub _body {
    my ($self, $r, $method, $deadline) = @_;
    my $length = $r->header('Content-Length');
    if ($method eq 'HEAD' || $r->{status} == 204 || $r->{status} == 304) {
        $r->{complete} = 1;
    } elsif (($r->header('Transfer-Encoding') // '') =~ /chunked/i) {
        $r->{framed} = 'chunked';
        $self->_chunks($r, $deadline);
    } elsif (defined $length) {
        $r->{framed} = 'length';
        1 while length $self->{in} < $length && $self->_more($deadline);
        $r->{complete} = length $self->{in} >= $length ? 1 : 0;
        $r->{body} = substr $self->{in}, 0, $length, '';
    } else {
        $r->{framed} = 'close';
        1 while $self->_more($deadline);
        $r->{complete} = $self->{eof} && !$self->{reset} ? 1 : 0;
        $r->{body} = delete $self->{in};
        $self->{in} = '';
    }
    $r->{error} //= $self->{eof} ? 'truncated' : 'timeout' unless $r->{complete};
}

sub _chunks {
    my ($self, $r, $deadline) = @_;
    while (1) {
        until ($self->{in} =~ /^([0-9a-fA-F]+)[^\n]*\r\n/) {
            return unless $self->_more($deadline);
        }
        # Captures of a loop's condition end with the loop.
        my ($line, $digits) = $self->{in} =~ /^(([0-9a-fA-F]+)[^\n]*\r\n)/;
        my $size = hex $digits;
        my $need = length($line) + $size + 2;
        1 while length $self->{in} < $need && $self->_more($deadline);
        if (length $self->{in} < $need) {
            $r->{body} .= substr $self->{in}, length $line;
            return;
        }
        $r->{body} .= substr $self->{in}, length $line, $size;
        push @{ $r->{chunks} }, $size;
        substr $self->{in}, 0, $need, '';
        return $r->{complete} = 1 unless $size;
    }
}

package Client::Response;
use strict;
use warnings;

sub status   { $_[0]{status} }
sub head     { $_[0]{head} }
sub body     { $_[0]{body} }
sub complete { $_[0]{complete} }
sub error    { $_[0]{error} // '' }

# All values of a field, in order; the first one.
sub headers { my ($self, $name) = @_; map { $_->[1] } grep { lc($_->[0] // '') eq lc $name } @{ $self->{fields} } }
sub header  { my ($self, $name) = @_; ($self->headers($name))[0] }

# The body as JSON, which the test applications answer with.
sub json {
    my ($self) = @_;
    require JSON::PP;
    my $data = eval { JSON::PP->new->latin1->decode($self->{body}) };
    $data // { error => "no JSON: $self->{status} $self->{body}" };
}

1;
