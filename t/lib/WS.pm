package WS;
# A WebSocket client that sends exactly the frames it is given (RFC 6455), on a Client.
use strict;
use warnings;
use Digest::SHA qw(sha1_base64);
use Time::HiRes qw(time);
use parent -norequire, 'Client';
use Client;

my $key = 'dGhlIHNhbXBsZSBub25jZQ==';

# Asks for a WebSocket; field => value are more fields of the request. The answer is in {answer}.
sub open {
    my ($class, $client, $path, %field) = @_;
    my $self = bless $client, $class;
    $self->write_request('GET', $path, Connection => 'Upgrade', Upgrade => 'websocket', 'Sec-WebSocket-Key' => $key, 'Sec-WebSocket-Version' => 13, %field);
    $self->{answer} = $self->read_response;
    return $self;
}

# 1 if the answer is one to our key.
sub opened { my $r = $_[0]{answer}; $r->status == 101 && ($r->header('Sec-WebSocket-Accept') // '') eq sha1_base64($key . '258EAFA5-E914-47DA-95CA-C5AB0DC85B11') . '=' }

# The bytes of a frame. fin => 0, rsv => bits, mask => undef, length => 'long' (in more bytes than it needs).
sub frame {
    my ($opcode, $payload, %arg) = @_;
    my $size = length $payload;
    my $mask = exists $arg{mask} ? $arg{mask} : "\x12\x34\xab\xcd";
    my $bit = defined $mask ? 128 : 0;
    my $head = chr(($arg{fin} // 1) << 7 | ($arg{rsv} // 0) << 4 | $opcode);
    $head .= $arg{long} || $size > 65535 ? chr($bit | 127) . pack('Q>', $arg{long} && $arg{long} > 1 ? $arg{long} : $size) : $size > 125 ? chr($bit | 126) . pack('n', $size)
        : chr($bit | $size);
    return $head . $payload unless defined $mask;
    my $pattern = $mask x ($size / 4 + 1);
    return $head . $mask . ($payload ^ substr $pattern, 0, $size);
}

sub text   { my ($self, $text) = @_; $self->send(frame(1, $text)) }
sub binary { my ($self, $data) = @_; $self->send(frame(2, $data)) }

# The next frame: [opcode, payload], or ['end'] / ['late'].
sub next_frame {
    my ($self) = @_;
    my $deadline = time + $self->{timeout};
    my $need = sub {
        while (length $self->{in} < $_[0]) {
            my $n = $self->_more($deadline);
            return $self->{eof} ? 'end' : 'late' unless $n;
        }
        return;
    };
    my ($why, $at) = (undef, 2);
    return [$why] if $why = $need->(2);
    my ($first, $size) = unpack 'CC', $self->{in};
    return ['masked'] if $size > 127;
    if ($size > 125) {
        $at = $size == 126 ? 4 : 10;
        return [$why] if $why = $need->($at);
        $size = unpack $at == 4 ? 'n' : 'Q>', substr $self->{in}, 2, 8;
    }
    return [$why] if $why = $need->($at + $size);
    my $frame = substr $self->{in}, 0, $at + $size, '';
    return [$first & 15, substr $frame, $at];
}

# What comes until the end: "1:text 10:pong 8:1000", long payloads as their length.
sub rest {
    my ($self) = @_;
    my @seen;
    while (@seen < 1000) {
        my ($opcode, $payload) = @{ $self->next_frame };
        push @seen, !defined $payload ? $opcode : "$opcode:" . ($opcode == 8 ? length $payload ? unpack 'n', $payload : '' : length $payload > 40 ? length $payload : $payload);
        last if !defined $payload;
    }
    return join ' ', @seen;
}

1;
