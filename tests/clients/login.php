<?php
// Logs in within TLS with PHPMailer and sends one message, once with each mechanism.
// Usage: php login.php HOST PORT starttls|implicit USER PASSWORD CERTIFICATE
require '/usr/share/php/libphp-phpmailer/autoload.php';

use PHPMailer\PHPMailer\PHPMailer;

[, $host, $port, $mode, $user, $password, $certificate] = $argv;
foreach (['PLAIN', 'LOGIN'] as $mechanism) {
    $mail = new PHPMailer(true);
    $mail->isSMTP();
    $mail->Host = $host;
    $mail->Port = (int) $port;
    $mail->SMTPSecure = $mode === 'implicit' ? PHPMailer::ENCRYPTION_SMTPS : PHPMailer::ENCRYPTION_STARTTLS;
    $mail->SMTPAuth = true;
    $mail->AuthType = $mechanism;
    $mail->Username = $user;
    $mail->Password = $password;
    $mail->SMTPOptions = ['ssl' => ['cafile' => $certificate, 'peer_name' => 'localhost']];
    $mail->setFrom('ann@client.test');
    $mail->addAddress('bob@upstream.test');
    $mail->Subject = 'from PHPMailer';
    $mail->Body = 'Hello';
    $mail->send();
}
